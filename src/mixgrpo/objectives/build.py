"""From a recipe's section to an objective."""

from mixgrpo.recipe.sections import ObjectiveConfig

from .clipped_ratio import ClippedRatio
from .image_credit import ImageCredit
from .objective import Objective


def build_objective(config: ObjectiveConfig) -> Objective:
    ratio = ClippedRatio(config.clip_range, config.kl_weight)
    match config.type:
        case "clipped-ratio":
            return ratio
        case "image-credit":
            return ImageCredit(ratio)
