"""Rewards computed by neural networks. torch is imported when a reward is created, not when its options are checked."""
