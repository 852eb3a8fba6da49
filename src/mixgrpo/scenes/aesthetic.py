"""A formula for a pleasant picture of the world of scenes: the mean of three numbers in [0, 1].

    contrast   how far things stand out from the background: the mean colour distance, full at 250 of 442
    margins    how far the nearest thing keeps from the edge, full at 8 pixels
    balance    how near the things' common centre is to the picture's, zero at 24 pixels

A picture without a thing scores 0. It knows nothing of the caption: an objective that can be pursued at the
expense of the others.
"""

import math

import numpy as np

from .captions import BACKGROUNDS, COLOURS
from .sight import Pixels, look


def pleasantness(picture: Pixels) -> float:
    sight = look(picture)
    if not sight.things or sight.background is None:
        return 0.0
    size = len(picture)
    ground = BACKGROUNDS[sight.background]
    distances = [math.dist(COLOURS[thing.colour], ground) for thing in sight.things if thing.colour is not None]
    contrast = min(1.0, float(np.mean(distances or [0.0])) / 250)
    margin = min(min(t.left, t.top, size - t.right, size - t.bottom) for t in sight.things)
    centre = np.mean([(thing.x, thing.y) for thing in sight.things], axis=0)
    balance = max(0.0, 1 - math.dist(centre, (size / 2, size / 2)) / 24)
    return (contrast + min(1.0, margin / 8) + balance) / 3
