"""Pre-training of the tiny model that ships with the package, from random weights."""
