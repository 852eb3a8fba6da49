"""From a recipe's sections to an objective."""

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor

from mixgrpo.recipe.objectives import Awm, ElboPepg, Nft, ObjectiveConfig, Ram, Rvm, VGrpo, WindowObjective
from mixgrpo.recipe.sections import RenoiseConfig

from .clipped_ratio import ClippedRatio
from .endpoint import Endpoint
from .endpoint_losses import Anchor, Draws, anchored, likelihood, nft, ram, ratio
from .image_credit import ImageCredit
from .objective import Loss, Objective
from .together import Together


def build_objective(config: ObjectiveConfig, renoise: RenoiseConfig) -> Objective:
    if isinstance(config, WindowObjective):
        by_noise = ClippedRatio(config.clip_range, config.kl_weight, config.divergence, config.ratio == "guarded")
        at_steps = by_noise if config.type == "clipped-ratio" else ImageCredit(by_noise)
        if not config.endpoint_weight:
            return at_steps
        at_images = Endpoint(
            partial(likelihood, weighting="velocity"),
            renoise,
            uses_old_policy=False,
            uses_average=False,
            uses_reference=False,
        )
        return Together([(at_steps, 1.0), (at_images, config.endpoint_weight)])
    loss, anchors = _endpoint_loss(config)
    weights = {name: weight for name, weight in {"reference": config.kl_weight, **anchors}.items() if weight > 0}

    def with_anchors(draws: Draws, advantage: Tensor) -> Loss:
        return anchored(loss(draws, advantage), draws, weights)

    return Endpoint(
        with_anchors,
        renoise,
        uses_old_policy=config.uses_old_policy,
        uses_average=config.uses_average,
        uses_reference=config.uses_reference,
    )


def _endpoint_loss(
    config: Rvm | Ram | Awm | VGrpo | ElboPepg | Nft,
) -> tuple[Callable[[Draws, Tensor], Loss], Mapping[Anchor, float]]:
    """The loss, and the weights of its anchors to the old policy."""
    match config:
        case Rvm():
            return partial(likelihood, weighting=config.weighting), {}
        case Ram():
            return partial(ram, multiplier=config.multiplier, residual=config.residual), {}
        case Awm():
            by_draw = partial(
                ratio,
                weighting=config.weighting,
                clip_range=config.clip_range,
                average="ratios",
                power=config.power,
            )
            return by_draw, {"old": config.old_weight, "average": config.average_weight}
        case VGrpo():
            by_image = partial(
                ratio,
                weighting=config.weighting,
                clip_range=config.clip_range,
                average="log-likelihoods",
                soft_clip=config.soft_clip,
            )
            return by_image, {"old-image": config.old_weight}
        case ElboPepg():
            weighted = partial(
                likelihood,
                weighting=config.weighting,
                proximal=config.proximal,
                off_policy=config.off_policy,
                guidance=config.guidance,
            )
            return weighted, {}
        case Nft():
            pulled = partial(
                nft,
                mixing=config.mixing,
                advantage_range=config.advantage_range,
                signal=config.signal,
                adaptive=config.adaptive,
                around=config.around,
            )
            return pulled, {}
