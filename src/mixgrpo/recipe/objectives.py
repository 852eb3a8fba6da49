"""The section `objective`: what an update minimises. `type` names it, and decides which other keys there are.

`clipped-ratio` and `image-credit` learn from the steps of an SDE window. The others learn from final images, noised
again as the section `renoise` says; any sampler may draw those.
"""

from typing import Annotated, Literal

from pydantic import Field

from mixgrpo.sampling.step_weights import StepWeight
from mixgrpo.section import Section

ErrorWeighting = Literal["velocity", "sigma", "image", "adaptive", "exact", "huber", "ghuber"]
NftSignal = Literal["all", "positive-only", "negative-only", "binary", "one-only"]

KlWeight = Annotated[float, Field(ge=0, le=1e6)]
ClipRange = Annotated[float, Field(ge=1e-8, le=1e6)]


class _Objective(Section):
    """What the trainer asks of every objective; most have no ratio and learn from final images."""

    kl_weight: KlWeight = 0.0
    """Weight of the mean squared distance to the velocity of the model as it was before training."""

    @property
    def clip(self) -> float | None:
        """How far a ratio may move, if that is what bounds it."""
        return None

    @property
    def has_ratio(self) -> bool:
        """Whether it compares with the likelihood under the policy that drew the images."""
        return False

    @property
    def needs_window(self) -> bool:
        return False

    @property
    def uses_old_policy(self) -> bool:
        """Whether it looks at velocities from before the update."""
        return True

    @property
    def uses_average(self) -> bool:
        """Whether it needs the averaged weights of update.ema_decay."""
        return False

    @property
    def uses_reference(self) -> bool:
        return self.kl_weight > 0


class WindowObjective(_Objective):
    """A ratio at each trained step of the window."""

    type: Literal["clipped-ratio", "image-credit"] = "clipped-ratio"
    """clipped-ratio: the published policy gradient, which credits an advantage to the noise drawn in the window.
    image-credit: the same loss, with the advantage credited to how the final image differs from the expected one.
    """
    clip_range: ClipRange = 1e-4
    """How far a ratio may move from 1 before its gradient is cut. Tiny, because log-probabilities are means."""
    divergence: float | None = Field(default=None, gt=0, le=1e6)
    """Instead of the clip (Flow-DPPO, 1e-5): a term is dropped where its step's KL to the old policy is at least this
    and its ratio has moved the way that the advantage asked for. null: clip.
    """
    ratio: Literal["plain", "guarded"] = "plain"
    """guarded: without the drift of its mean, in units alike for all steps (GRPO-Guard)."""
    step_weight: StepWeight = "equal"
    """How much a step of the window counts, relative to the mean over the steps that the window may cover. flash: by
    noise for a change of velocity, std / |d mean / d v|. temporal: by std. guard: by 1 / |d mean / d v|.
    """
    endpoint_weight: float = Field(default=0.0, ge=0, le=1e6)
    """Weight of a second loss, at final images noised again: that of type rvm."""
    kl_weight: KlWeight = 0.0
    """Weight of the KL divergence to the model as it was before training."""

    @property
    def clip(self) -> float | None:
        return self.clip_range if self.divergence is None else None

    @property
    def has_ratio(self) -> bool:
        return True

    @property
    def needs_window(self) -> bool:
        return True


class Rvm(_Objective):
    """Reward-weighted velocity matching (2608.23664): advantage times error. Its recipe has advantage.scale 0.1 and
    advantage.spread batch.
    """

    type: Literal["rvm"]
    weighting: ErrorWeighting = "velocity"
    """How errors of the velocity are weighed over noise levels."""

    @property
    def uses_old_policy(self) -> bool:
        return False


class Ram(_Objective):
    """Reward-weighted adjoint matching (2605.10759): regression on a velocity moved by the advantage."""

    type: Literal["ram"]
    multiplier: float = Field(default=1.0, gt=0, le=1e6)
    """How far an advantage of 1 moves the velocity that is aimed at."""
    residual: Literal["current", "old"] = "current"
    """Whose velocity's error is followed: the trained one's, or that of the policy before the update."""

    @property
    def uses_old_policy(self) -> bool:
        return self.residual == "old"

    @property
    def uses_reference(self) -> bool:
        return True


class Awm(_Objective):
    """Advantage-weighted matching: the clipped ratio of likelihoods by velocity errors. Its recipe has advantage.scale
    0.2, six draws and kl_weight 0.003.
    """

    type: Literal["awm"]
    weighting: ErrorWeighting = "ghuber"
    """How errors of the velocity are weighed over noise levels. ghuber: a power of their mean square."""
    clip_range: ClipRange = 1e-5
    """How far a ratio may move from 1 before its gradient is cut."""
    power: float = Field(default=0.25, gt=0, le=1)
    """The exponent of ghuber."""
    old_weight: float = Field(default=0.0, ge=0, le=1e6)
    """Weight of the mean squared distance to the velocity before the update."""
    average_weight: float = Field(default=0.0, ge=0, le=1e6)
    """Weight of the mean squared distance to the velocity of the averaged weights; its recipe has 0.1."""

    @property
    def uses_average(self) -> bool:
        return self.average_weight > 0

    @property
    def clip(self) -> float | None:
        return self.clip_range

    @property
    def has_ratio(self) -> bool:
        return True


class VGrpo(_Objective):
    """V-GRPO (2604.23380): the clipped ratio of likelihoods averaged over an image's draws; four of them."""

    type: Literal["v-grpo"]
    weighting: ErrorWeighting = "adaptive"
    """How errors of the velocity are weighed over noise levels. adaptive: relative to their own mean size."""
    clip_range: ClipRange | None = 3e-2
    """How far a ratio may move from 1 before its gradient is cut. null: no clip, for one update an iteration; then with
    soft_clip.
    """
    soft_clip: float | None = Field(default=None, gt=0, le=1e6)
    """c: an advantage A becomes c tanh(A / c)."""
    old_weight: float = Field(default=0.0, ge=0, le=1e6)
    """Weight of the mean squared distance between predicted images and those before the update."""

    @property
    def clip(self) -> float | None:
        return self.clip_range

    @property
    def has_ratio(self) -> bool:
        return True


class ElboPepg(_Objective):
    """ELBO-PEPG: the policy gradient of a likelihood by errors, held back by what the update has changed already."""

    type: Literal["elbo-pepg"]
    weighting: ErrorWeighting = "adaptive"
    """How errors of the velocity are weighed over noise levels. adaptive: relative to their own mean size."""
    proximal: bool = True
    """Advantage minus log-ratio in place of the advantage."""
    off_policy: bool = False
    """Times the ratio of likelihoods."""
    guidance: float = Field(default=1.0, gt=0, le=1000)
    """Errors of a model with guidance grow with its scale, and are divided by this."""

    @property
    def has_ratio(self) -> bool:
        return self.off_policy


class Nft(_Objective):
    """DiffusionNFT: good images pull the velocity, bad ones push it, around that of the policy before the update."""

    type: Literal["nft"]
    mixing: float = Field(default=1.0, gt=0, le=1)
    """How far the pulled and the pushed velocity are from the old one."""
    advantage_range: float = Field(default=1.0, gt=0, le=1e6)
    """An advantage this large pulls alone. 1 in the paper; 5 in most code, with a fifth of the contrast."""
    signal: NftSignal = "all"
    """Which images count, and whether their advantages count in full or by their sign (binary)."""
    adaptive: bool = True
    """Errors of predicted images relative to their mean absolute error."""
    around: Literal["old", "average"] = "old"
    """What is pulled and pushed: the velocity before the update, or that of the averaged weights, as in the paper."""

    @property
    def uses_old_policy(self) -> bool:
        return self.around == "old"

    @property
    def uses_average(self) -> bool:
        return self.around == "average"


ObjectiveConfig = Annotated[WindowObjective | Rvm | Ram | Awm | VGrpo | ElboPepg | Nft, Field(discriminator="type")]

OBJECTIVES: dict[str, type[Section]] = {
    "clipped-ratio": WindowObjective,
    "image-credit": WindowObjective,
    "rvm": Rvm,
    "ram": Ram,
    "awm": Awm,
    "v-grpo": VGrpo,
    "elbo-pepg": ElboPepg,
    "nft": Nft,
}
