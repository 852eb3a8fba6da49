"""What is learned from a rollout: advantages, and the loss of the velocity."""
