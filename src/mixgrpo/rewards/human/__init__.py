"""A person as the reward: a page on this machine shows the images as they are drawn, and asks which are good."""
