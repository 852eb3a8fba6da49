"""What names in recipes, metrics and advice mean, read off the code: for `mixgrpo explain` and the documentation."""
