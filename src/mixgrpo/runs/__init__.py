"""What surrounds training: the run folder, checks before the start, evaluation, progress, results."""
