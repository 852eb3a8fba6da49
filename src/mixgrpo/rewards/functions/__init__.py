"""Rewards that are plain functions of an image."""
