"""The training loop: what turns scored rollouts into weight updates."""
