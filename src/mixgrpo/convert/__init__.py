"""Recipes from the settings of other trainers: read what people have, and account for every key of it."""
