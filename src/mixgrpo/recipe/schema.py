"""A recipe: everything that a run is asked to do, and the two questions that sampling asks of it."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from mixgrpo.rewards.entry import RewardConfig
from mixgrpo.rewards.registry import check_options
from mixgrpo.sampling.plan import Plan, make_plan
from mixgrpo.sampling.schedule import SigmaGrid, shifted_linspace
from mixgrpo.sampling.window import Progressive, Stratified, WindowStrategy, random_subset
from mixgrpo.section import Section

from .objectives import ObjectiveConfig, WindowObjective
from .presets import Algorithm
from .sections import (
    AdvantageConfig,
    EvaluationConfig,
    GridConfig,
    LoraConfig,
    ModelConfig,
    ParallelConfig,
    PromptsConfig,
    RenoiseConfig,
    RolloutConfig,
    SaveConfig,
    ScoringConfig,
    ScoutingConfig,
    SdeConfig,
    Shard,
    SpeedConfig,
    SuffixConfig,
    UpdateConfig,
)


class Recipe(Section):
    description: str = ""
    """Shown by `mixgrpo recipes` and `mixgrpo plan`."""
    algorithm: Algorithm = "mixgrpo"
    """A preset: fills in what the recipe leaves open of sde, window and suffix."""
    iterations: int = Field(default=300, ge=1, le=10_000_000)
    """Length of the run. Each iteration draws, scores and learns from `rollout.prompts` groups."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Of all noise and of the order of prompts. Two runs with the same recipe and machine are equal."""
    tune: Literal["full", "lora"] = "full"
    """Train the weights themselves, or LoRA adapters."""
    tune_only: tuple[str, ...] = Field(default=(), strict=False)
    """With tune: full, which weights train: patterns for their names, `*` matches anything. Empty: all."""
    model: ModelConfig
    """What is trained, and the size of its images."""
    grid: GridConfig = GridConfig()
    """The noise levels of a trajectory."""
    sde: SdeConfig = SdeConfig()
    """How noise is added in the window."""
    window: WindowStrategy = Progressive()
    """Which steps are stochastic at an iteration, and so can be learned from."""
    suffix: SuffixConfig = SuffixConfig()
    """The steps after the window."""
    rollout: RolloutConfig = RolloutConfig()
    """How many images an iteration draws."""
    scouting: ScoutingConfig = ScoutingConfig()
    """Drawing many candidates cheaply and only the best and the worst of them properly."""
    prompts: PromptsConfig
    """What is drawn in training and in evaluations. Has a default for `model.path: tiny` alone, as have rewards."""
    rewards: dict[str, RewardConfig] = Field(min_length=1)
    """A reward's name, `file.py:function` or a label of your own, with its weight or its options. null: not this
    reward, which an extended recipe has.
    """
    advantage: AdvantageConfig = AdvantageConfig()
    """How rewards become advantages within a group."""
    objective: ObjectiveConfig = WindowObjective()
    """What an update minimises."""
    renoise: RenoiseConfig = RenoiseConfig()
    """How final images are noised again, for the objectives that learn from those."""
    scoring: ScoringConfig = ScoringConfig()
    """How rewards are called, and what happens when one fails."""
    lora: LoraConfig = LoraConfig()
    """The adapters of `tune: lora`."""
    update: UpdateConfig = UpdateConfig()
    """How gradients become weight updates."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Deterministic images of held-out prompts, scored on the way."""
    save: SaveConfig = SaveConfig()
    """Checkpoints."""
    parallel: ParallelConfig = ParallelConfig()
    """How several processes share the trained networks."""
    speed: SpeedConfig = SpeedConfig()
    """What makes a run faster and changes its results by no more than rounding."""
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = Field(default=(), strict=False)
    """Where metrics go in addition to the run's metrics.jsonl."""

    @field_validator("objective", mode="before")
    @classmethod
    def _has_a_type(cls, value: Any) -> Any:
        return {"type": "clipped-ratio", **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _model_is_named(self) -> "Recipe":
        if not self.model.path.strip():
            raise ValueError(f"model.path = {self.model.path!r}: must be a folder or a name on the hub")
        return self

    @model_validator(mode="after")
    def _some_reward_counts(self) -> "Recipe":
        if not self.weights:
            raise ValueError(f"rewards {', '.join(self.rewards)}: at least one weight must be above 0")
        if "diversity" in self.rewards:
            raise ValueError("rewards.diversity: evaluations report a measure of that name; choose another label")
        return self

    @model_validator(mode="after")
    def _best_is_a_reward(self) -> "Recipe":
        if self.evaluation.best is not None and self.evaluation.best not in self.rewards:
            raise ValueError(f"evaluation.best = {self.evaluation.best!r}: must be one of {', '.join(self.rewards)}")
        return self

    @model_validator(mode="after")
    def _every_option_is_read(self) -> "Recipe":
        """Those at their default may stand: a run's recipe.yaml lists every key."""
        if self.tune == "lora" and self.tune_only:
            raise ValueError("tune_only: applies to tune = full; LoRA adapters go to the attention projections")
        if self.tune == "full" and self.lora != LoraConfig():
            raise ValueError(f"lora = {self.lora.model_dump()}: applies to tune = lora")
        if self.model.quantize and self.tune == "full":
            raise ValueError(f"model.quantize = {self.model.quantize!r}: trained weights are not; set tune=lora")
        if self.model.quantize and (self.parallel.offload or self.parallel.shard not in ("auto", "none")):
            raise ValueError(
                f"model.quantize = {self.model.quantize!r}: quantized weights are not shared out or offloaded; set "
                "parallel.shard=none and parallel.offload=false"
            )
        if self.suffix.solver == "euler" and self.suffix.history != SuffixConfig().history:
            raise ValueError(f"suffix.history = {self.suffix.history!r}: suffix.solver = 'euler' looks back on no step")
        if self.speed.text_cache is None and self.speed.text_cache_gib != SpeedConfig().text_cache_gib:
            raise ValueError(f"speed.text_cache_gib = {self.speed.text_cache_gib}: needs speed.text_cache, a folder")
        if self.objective.uses_average and self.update.ema_decay is None:
            raise ValueError(f"objective.type = {self.objective.type!r} with these settings needs update.ema_decay")
        if not self.renoised and self.renoise != RenoiseConfig():
            raise ValueError(
                f"renoise = {self.renoise.model_dump(mode='json')}: objective.type = {self.objective.type!r} learns "
                "from the steps of the window and noises no image again"
            )
        return self

    @model_validator(mode="after")
    def _scouting_fits(self) -> "Recipe":
        candidates = self.scouting.candidates
        if not candidates:
            if self.scouting != ScoutingConfig():
                raise ValueError(f"scouting.steps = {self.scouting.steps}: needs scouting.candidates")
            return self
        if candidates < self.rollout.group_size:
            raise ValueError(
                f"scouting.candidates = {candidates}: must be at least rollout.group_size = {self.rollout.group_size}"
            )
        if self.objective.has_ratio:
            raise ValueError(
                f"scouting.candidates = {candidates}: objective.type = {self.objective.type!r} has a ratio to the "
                "policy that drew the images, and candidates that are kept for their rewards are no fair sample of it. "
                "Use rvm, ram, nft or elbo-pepg without off_policy"
            )
        if self.rollout.shared_noise:
            raise ValueError(
                f"scouting.candidates = {candidates}: needs rollout.shared_noise = false, because a candidate is known "
                "by its own noise"
            )
        return self

    @model_validator(mode="after")
    def _reward_options_fit(self) -> "Recipe":
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
        """The rewards that are trained on; the others are only observed."""
        return {label: entry.weight for label, entry in self.rewards.items() if entry.weight > 0}

    @property
    def shard(self) -> Shard:
        """How the networks are shared out."""
        return "none" if self.model.quantize else self.parallel.shard

    @property
    def best_by(self) -> dict[str, float]:
        """Weights of the rewards whose sum says which checkpoint is the best."""
        return self.weights if self.evaluation.best is None else {self.evaluation.best: 1.0}

    @property
    def envelope(self) -> range:
        """The steps that the window may cover."""
        return range(*(self.window.range or (0, self.grid.steps - 1)))

    def window_at(self, iteration: int, prompt: int = 0) -> range:
        """The stochastic steps of this iteration, for this one of its prompts. None where images need no other
        difference than their noise.
        """
        if not (self.objective.needs_window or self.rollout.shared_noise):
            return range(0)
        size = self.window.size or len(self.envelope)
        if isinstance(self.window, Stratified):
            start = self.window.start_of(prompt, self.rollout.prompts, iteration, self.envelope, size)
        else:
            start = self.window.start(iteration, self.envelope, size)
        return range(start, start + size)

    def trained_at(self, iteration: int, prompt: int = 0) -> tuple[int, ...]:
        """The steps of the window that the objective learns from."""
        if not self.objective.needs_window:
            return ()
        return random_subset(iteration, self.window_at(iteration, prompt), self.window.trained_fraction, self.seed)

    @property
    def renoised(self) -> int:
        """States of each image at which the update runs the model, beside the trained steps."""
        window_alone = isinstance(self.objective, WindowObjective) and not self.objective.endpoint_weight
        return 0 if window_alone else self.renoise.draws

    @property
    def parts_of_groups(self) -> int:
        """How many mini-batches have images of one group."""
        cut = self.update.split_groups or self.rollout.prompts < self.update.minibatches
        return self.update.minibatches if cut else 1

    @property
    def kept_latents(self) -> int:
        """Latents of each image that wait for the update: where a step of the window led, its mean, and with image
        credit where it should have led; a re-noised state and what its velocity leads to.
        """
        per_step = 3 if self.objective.type == "image-credit" else 2
        return 2 * self.renoised + self.objective.needs_window * per_step * len(self.window_at(0))

    def plan_at(self, iteration: int, grid: SigmaGrid, prompt: int = 0) -> Plan:
        """This iteration's plan on a grid: `own_grid()`, or the one of the model's scheduler."""
        stochastic = self.window_at(iteration, prompt)
        return make_plan(
            grid,
            stochastic,
            sde_type=self.sde.type,
            noise_level=self.sde.noise_level,
            trained=self.trained_at(iteration, prompt),
            weight=self.objective.step_weight if isinstance(self.objective, WindowObjective) else "equal",
            envelope=self.envelope if stochastic and self.objective.needs_window else None,
            suffix_solver=self.suffix.solver,
            compress_ratio=self.suffix.compress_ratio,
            history=self.suffix.history,
        )

    def own_grid(self, steps: int | None = None) -> SigmaGrid | None:
        """The grid, where the recipe alone determines it; None where the model's scheduler does. `steps`: another
        number of them.
        """
        return None if self.grid.shift == "model" else shifted_linspace(steps or self.grid.steps, self.grid.shift)
