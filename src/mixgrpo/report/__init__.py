"""A page of one or several runs: a single file that opens from disk, without a network."""
