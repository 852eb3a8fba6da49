"""Rewards: functions that score images. They do not depend on training."""
