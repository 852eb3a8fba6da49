"""Rewards that are neural networks. torch is imported when the first image is scored."""
