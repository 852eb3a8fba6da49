"""A reward of your own. In a recipe: `rewards: {"examples/brightness_reward.py:brightness": 1.0}`."""

from PIL import ImageStat


def brightness(images, prompts, **metadata):
    """The mean brightness of each image, from 0 (black) to 1 (white)."""
    return [ImageStat.Stat(image.convert("L")).mean[0] / 255 for image in images]
