"""Sampling images: the noise schedule, the window, the plan of a rollout, and the rollout. Imports nothing of ours."""
