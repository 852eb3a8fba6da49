"""A formula for how pleasing an image of the world of scenes looks: the mean of three scores in [0, 1].

    contrast   mean colour distance between shapes and background; full score from 250 (of 442)
    margins    distance of the outermost shape to the edge; full score from 8 pixels
    balance    distance between the mean position of all shapes and the image centre; zero from 24 pixels

An image without a shape scores 0. The formula ignores the caption, so it is an objective that can be optimised at the
expense of the others.
"""

import math

import numpy as np

from .analysis import Pixels, analyse
from .captions import BACKGROUNDS, COLOURS


def aesthetic_score(image: Pixels) -> float:
    content = analyse(image)
    if not content.shapes or content.background is None:
        return 0.0
    size = len(image)
    background = BACKGROUNDS[content.background]
    distances = [math.dist(COLOURS[shape.colour], background) for shape in content.shapes if shape.colour is not None]
    contrast = min(1.0, float(np.mean(distances or [0.0])) / 250)
    margin = min(min(s.left, s.top, size - s.right, size - s.bottom) for s in content.shapes)
    centre = np.mean([(shape.x, shape.y) for shape in content.shapes], axis=0)
    balance = max(0.0, 1 - math.dist(centre, (size / 2, size / 2)) / 24)
    return (contrast + min(1.0, margin / 8) + balance) / 3
