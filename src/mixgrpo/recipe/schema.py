"""What a recipe may say: every key, its type, its default and its bounds. Unknown keys are errors.

`recipe.py` reads recipes from files and turns what is wrong into a sentence; this file is the schema,
and the two questions one asks a recipe: where the window is at an iteration, and what is the plan there.
"""

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from mixgrpo.objectives.advantages import Aggregation
from mixgrpo.rewards.entry import RewardConfig, ScoringConfig
from mixgrpo.rewards.registry import check_options
from mixgrpo.sampling import window
from mixgrpo.sampling.plan import History, Plan, make_plan
from mixgrpo.sampling.schedule import SigmaGrid, shifted_linspace
from mixgrpo.sampling.steppers.ode import Solver
from mixgrpo.sampling.steppers.sde import SdeType
from mixgrpo.training.speed import SpeedConfig

from .presets import Algorithm
from .sections import EvaluationConfig, LoraConfig, PromptsConfig, SaveConfig, Section, UpdateConfig


class ModelConfig(Section):
    path: str
    """A diffusers pipeline: a local folder, or a hub id; `tiny` is the model that ships."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """What the model computes in. The trajectory itself is always float32."""
    height: int = Field(default=512, ge=8)
    width: int = Field(default=512, ge=8)
    guidance_scale: float | None = Field(default=None, ge=0)
    max_sequence_length: int | None = Field(default=None, ge=1)
    """Text tokens. null, here and for guidance_scale: what the stock pipeline takes by default."""


class GridConfig(Section):
    steps: int = Field(default=25, ge=2)
    """T, the steps of the uncompressed trajectory."""
    shift: Literal["model"] | float = "model"
    """A number: linspace pushed through this time shift. `model`: what the model's own scheduler does."""

    @field_validator("shift", mode="before")
    @classmethod
    def _model_or_above_zero(cls, value: object) -> object:
        if value == "model" or (isinstance(value, int | float) and 0 < value < math.inf):
            return value
        raise ValueError(f"grid.shift = {value!r}: must be a number above 0, or 'model'")


class SdeConfig(Section):
    type: SdeType = "flow"
    noise_level: float = Field(default=0.7, gt=0)
    """eta in the paper."""

    @model_validator(mode="after")
    def _cps_noise_is_an_angle(self) -> "SdeConfig":
        if self.type == "cps" and self.noise_level >= 2:
            raise ValueError(
                f"sde.noise_level = {self.noise_level}: must be below 2 for type cps, whose std is "
                "sigma' * sin(noise_level * pi / 2)"
            )
        return self


class Placed(Section):
    """What every window says, whatever moves it."""

    size: int | None = Field(default=4, ge=1)
    """Steps in the window. null: every step of the range."""
    range: tuple[int, int] | None = None
    """[start, end): the steps it may cover. null: every step but the last, which is never stochastic."""
    trained_fraction: float = Field(default=1.0, gt=0, le=1)
    """The share of the window's steps that is optimised, drawn afresh each iteration (DanceGRPO: 0.6)."""


class Progressive(Placed):
    """Slides by `stride` every `iters_per_group` iterations."""

    strategy: Literal["progressive"] = "progressive"
    iters_per_group: int = Field(default=25, ge=1)
    stride: int = Field(default=1, ge=1)
    wrap: bool = True
    """At the end: begin again, or stay there."""

    def start(self, iteration: int, envelope: range, size: int) -> int:
        starts = window.positions(envelope, size, self.stride, self.wrap)
        return window.slide(iteration, starts, [self.iters_per_group] * len(starts), self.wrap)


class Decay(Placed):
    """Slides like `progressive`, but stays ever shorter: from `iters_per_group` down to `min_iters_per_group`."""

    strategy: Literal["decay"]
    iters_per_group: int = Field(default=25, ge=1)
    min_iters_per_group: int = Field(default=1, ge=1)
    stride: int = Field(default=1, ge=1)
    wrap: bool = True

    @model_validator(mode="after")
    def _falls(self) -> "Decay":
        if self.min_iters_per_group > self.iters_per_group:
            raise ValueError(
                f"window.min_iters_per_group = {self.min_iters_per_group}: must be at most "
                f"window.iters_per_group, {self.iters_per_group}"
            )
        return self

    def start(self, iteration: int, envelope: range, size: int) -> int:
        starts = window.positions(envelope, size, self.stride, self.wrap)
        durations = [
            window.linear_decay(start - envelope.start, len(envelope), self.iters_per_group, self.min_iters_per_group)
            for start in starts
        ]
        return window.slide(iteration, starts, durations, self.wrap)


class ExpDecay(Placed):
    """Slides like `progressive`; from `threshold` on the stay shortens by exp(-rate * position)."""

    strategy: Literal["exp_decay"]
    iters_per_group: int = Field(default=25, ge=1)
    rate: float = Field(default=0.1, gt=0)
    threshold: int = Field(default=13, ge=0)
    stride: int = Field(default=1, ge=1)
    wrap: bool = True

    def start(self, iteration: int, envelope: range, size: int) -> int:
        starts = window.positions(envelope, size, self.stride, self.wrap)
        durations = [
            window.exp_decay(start - envelope.start, self.iters_per_group, self.rate, self.threshold)
            for start in starts
        ]
        return window.slide(iteration, starts, durations, self.wrap)


class Random(Placed):
    """A fresh draw each iteration, the same on every rank."""

    strategy: Literal["random"]
    seed: int = 0

    def start(self, iteration: int, envelope: range, size: int) -> int:
        return window.random_start(iteration, envelope, size, self.seed)


class Frozen(Placed):
    """Stays at the start of its range."""

    strategy: Literal["frozen"]

    def start(self, iteration: int, envelope: range, size: int) -> int:
        return envelope.start


WindowConfig = Annotated[Progressive | Decay | ExpDecay | Random | Frozen, Field(discriminator="strategy")]


class SuffixConfig(Section):
    """The steps after the window, which are not optimised (MixGRPO-Flash: dpm++2-midpoint at ratio 0.4)."""

    solver: Solver = "euler"
    compress_ratio: float = Field(default=1.0, gt=0, le=1)
    """The share of the remaining steps that is kept."""
    history: History = "trajectory"
    """What a multistep solver looks back on: every step, as published; or the suffix alone. What the model expected
    before the window's noise is another picture than after it, and drawing a line through both leads astray."""


class RolloutConfig(Section):
    prompts: int = Field(default=1, ge=1)
    """Prompts per iteration."""
    group_size: int = Field(default=12, ge=2)
    """Images per prompt, compared with each other."""
    shared_noise: bool = True
    """Whether a group starts from one noise. If so, all it has in common is computed once."""
    micro_batch: int = Field(default=4, ge=1)
    """Images per model call: what bounds the memory."""


class Recipe(Section):
    description: str
    algorithm: Algorithm = "mixgrpo"
    """What the sections sde, window and suffix are filled with, where the recipe leaves them open."""
    iterations: int = Field(default=300, ge=1)
    seed: int = 0
    tune: Literal["full", "lora"] = "full"
    """Weights of the transformer, or adapters only."""
    tune_only: tuple[str, ...] = ()
    """Which weights full tuning trains: patterns for their names, with `*` for anything. None: all of them."""
    model: ModelConfig
    grid: GridConfig = GridConfig()
    sde: SdeConfig = SdeConfig()
    window: WindowConfig = Progressive()
    suffix: SuffixConfig = SuffixConfig()
    rollout: RolloutConfig = RolloutConfig()
    prompts: PromptsConfig = PromptsConfig()
    rewards: dict[str, RewardConfig] = Field(default={"scenes": RewardConfig()}, min_length=1)
    """Reward name, `file.py:function`, or a label, and its weight or its options. Weight 0: observed only."""
    aggregation: Aggregation = "advantage"
    """What is weighed: each reward's advantages (the paper's choice), or the rewards themselves."""
    credit: Literal["noise", "picture"] = "noise"
    """What an image's advantage is credited to: the noise it drew, as published, or how its picture differs from what
    was to be expected, which has far less chance in it and bears a higher rate.
    """
    scoring: ScoringConfig = ScoringConfig()
    lora: LoraConfig = LoraConfig()
    update: UpdateConfig = UpdateConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    save: SaveConfig = SaveConfig()
    speed: SpeedConfig = SpeedConfig()
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Where metrics go beside the run's metrics.jsonl."""

    @model_validator(mode="after")
    def _something_is_rewarded(self) -> "Recipe":
        if not self.weights:
            raise ValueError(f"rewards {', '.join(self.rewards)}: at least one weight must be above 0")
        return self

    @model_validator(mode="after")
    def _adapters_have_places_of_their_own(self) -> "Recipe":
        if self.tune == "lora" and self.tune_only:
            raise ValueError("tune_only: chooses weights for tune = full; adapters go to the attention projections")
        return self

    @model_validator(mode="after")
    def _rewards_take_their_options(self) -> "Recipe":
        for label, entry in self.rewards.items():
            check_options(label, entry)
        return self

    @model_validator(mode="after")
    def _window_fits(self) -> "Recipe":
        last = self.grid.steps - 1
        start, end = self.window.range or (0, last)
        if not 0 <= start < end:
            raise ValueError(f"window.range = [{start}, {end}]: must be [start, end] with 0 <= start < end <= {last}")
        if end > last:
            raise ValueError(
                f"window.range = [{start}, {end}]: end is exclusive and may be at most {last}, because the last of "
                f"grid.steps = {self.grid.steps} steps goes to sigma 0 and is never stochastic"
            )
        if self.window.size is not None and self.window.size > end - start:
            raise ValueError(
                f"window.size = {self.window.size}: must be at most {end - start}, the number of steps in "
                f"window.range [{start}, {end}]"
            )
        return self

    @property
    def weights(self) -> dict[str, float]:
        """Of the rewards that count; the others are only observed."""
        return {label: entry.weight for label, entry in self.rewards.items() if entry.weight > 0}

    @property
    def envelope(self) -> range:
        return range(*(self.window.range or (0, self.grid.steps - 1)))

    def window_at(self, iteration: int) -> range:
        """The steps that are stochastic at this iteration."""
        size = self.window.size or len(self.envelope)
        start = self.window.start(iteration, self.envelope, size)
        return range(start, start + size)

    def plan_at(self, iteration: int, grid: SigmaGrid) -> Plan:
        """The plan of this iteration on a grid: `own_grid()`, or the one that the model's scheduler gives."""
        stochastic = self.window_at(iteration)
        return make_plan(
            grid,
            stochastic,
            sde_type=self.sde.type,
            noise_level=self.sde.noise_level,
            trained=window.random_subset(iteration, stochastic, self.window.trained_fraction, self.seed),
            suffix_solver=self.suffix.solver,
            compress_ratio=self.suffix.compress_ratio,
            history=self.suffix.history,
        )

    def own_grid(self) -> SigmaGrid | None:
        """The grid, where the recipe alone determines it; None where the model's scheduler does."""
        return None if self.grid.shift == "model" else shifted_linspace(self.grid.steps, self.grid.shift)
