"""The sections of a recipe: every key, its type, its default and its bounds. Unknown keys are errors.

Two sections live with what they configure: the window's strategies in `sampling/window.py`, an entry of `rewards` in
`rewards/entry.py`.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from mixgrpo.sampling.plan import History
from mixgrpo.sampling.steppers.ode import Solver
from mixgrpo.sampling.steppers.sde import SdeType
from mixgrpo.section import Section, shown

Aggregation = Literal["advantage", "reward"]
Spread = Literal["group", "batch"]
Beta = Annotated[float, Field(ge=0, lt=1)]


Quantization = Literal["int8"]
Shard = Literal["auto", "none", "full", "hybrid"]


class ModelConfig(Section):
    path: str
    """A diffusers pipeline: a local folder or a hub id. `tiny` is the model that ships with the package."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """The model's precision. The trajectory itself is always float32."""
    height: int = Field(default=512, ge=8, le=16384, multiple_of=8)
    """Of the images, in pixels. Some models need a multiple of 16 or 32, and say so."""
    width: int = Field(default=512, ge=8, le=16384, multiple_of=8)
    """As height."""
    guidance_scale: float | None = Field(default=None, ge=0, le=1000)
    """null: the default of the stock pipeline."""
    max_sequence_length: int | None = Field(default=None, ge=1, le=8192)
    """Text tokens. null: the default of the stock pipeline."""
    quantize: Quantization | None = None
    """Keep the frozen networks under LoRA adapters in int8, half of bfloat16's memory. Needs torchao."""
    vae_slicing: bool = False
    """Decode a micro-batch one image at a time: less memory, and the same images."""
    vae_tiling: bool = False
    """Decode large images in tiles that overlap: less memory, and slightly other pixels where tiles meet."""


class GridConfig(Section):
    steps: int = Field(default=25, ge=2, le=10_000)
    """T, the number of denoising steps before the suffix is compressed."""
    shift: Literal["model"] | float = "model"
    """A number: linspace pushed through this time shift. `model`: the grid of the model's own scheduler."""

    @field_validator("shift", mode="before")
    @classmethod
    def _model_or_positive(cls, value: object) -> object:
        if value == "model":
            return value
        if isinstance(value, int | float) and not isinstance(value, bool) and 0.01 <= value <= 100:
            return value
        raise ValueError(f"grid.shift = {shown(value)}: must be a number from 0.01 to 100, or 'model'")


class SdeConfig(Section):
    type: SdeType = "flow"
    """flow: Flow-GRPO's. dance: DanceGRPO's. cps: coefficients-preserving, without excess noise in the image. precise
    and dance-precise: finite at sigma 1, with normalised log-probabilities. Clip ranges do not carry over between them.
    """
    noise_level: float = Field(default=0.7, ge=0.001, le=100)
    """Strength of the noise; eta in the paper."""

    @model_validator(mode="after")
    def _cps_noise_is_an_angle(self) -> "SdeConfig":
        if self.type == "cps" and self.noise_level >= 2:
            raise ValueError(
                f"sde.noise_level = {self.noise_level}: must be below 2 for type cps, whose std is "
                "sigma' * sin(noise_level * pi / 2)"
            )
        return self


class SuffixConfig(Section):
    """The ODE steps after the window, which are not optimised (MixGRPO-Flash: dpm++2-midpoint, ratio 0.4)."""

    solver: Solver = "euler"
    """euler, or DPM-Solver++ of order 1, 2 (midpoint or Heun) or 3, which needs fewer steps for the same image."""
    compress_ratio: float = Field(default=1.0, gt=0, le=1)
    """Fraction of the remaining steps that is kept."""
    history: History = "trajectory"
    """Earlier predictions a multistep solver uses: those of every step (as published), or of the suffix alone. The
    predictions made before the window's noise belong to another image, and extrapolating from them can mislead.
    """


class RolloutConfig(Section):
    prompts: int = Field(default=1, ge=1, le=100_000)
    """Prompts per iteration."""
    revisited: float = Field(default=0.0, ge=0, lt=1)
    """The share of these prompts that were drawn before, chosen by how much the rewards of their latest group differed.
    The others are new, one pass over the dataset after the other.
    """
    group_size: int = Field(default=12, ge=2, le=10_000)
    """Images per prompt. Advantages compare them with each other."""
    shared_noise: bool = True
    """Start all images of a group from the same noise. The steps they share are then computed once per prompt."""
    micro_batch: int = Field(default=4, ge=1, le=100_000)
    """Images per model call. This bounds the memory."""


class ScoutingConfig(Section):
    """Drawing many candidates in few steps, and only the best and the worst of them properly. For objectives without a
    ratio, with images that start from noise of their own.
    """

    candidates: int = Field(default=0, ge=0, le=10_000)
    """Of each prompt. 0: none, every image is drawn at once."""
    steps: int = Field(default=4, ge=1, le=10_000)
    """Of a candidate."""


class PromptsConfig(Section):
    """Where prompts come from. `prompts: NAME` stands for both: of a file it holds out one prompt in ten, at most 512,
    for evaluation, which is then written FILE#held-out, and the rest FILE#train.
    """

    train: str
    """A .txt file (a prompt a line), or a .jsonl or .csv file with a column `prompt`; the other columns go to rewards.
    `scenes`: the endless captions of the world of scenes. `python`: given as Python objects.
    """
    evaluation: str
    """Held-out prompts, in the same forms."""


class AdvantageConfig(Section):
    aggregation: Aggregation = "advantage"
    """What is summed over several rewards, by weight: their advantages (the paper's choice), or the rewards."""
    spread: Spread = "group"
    """What a reward's distance from its group's mean is divided by: the std of its group, or of all groups of the
    iteration together.
    """
    clip: float = Field(default=5.0, gt=0, le=1e6)
    """Advantages are clipped to this range, plus or minus."""
    scale: float = Field(default=1.0, gt=0, le=1e6)
    """And then multiplied by this."""


class RenoiseConfig(Section):
    """How final images are noised again, for the objectives that learn from those."""

    draws: int = Field(default=1, ge=1, le=1000)
    """Noised states of each image. Each is a forward-backward pass."""
    range: tuple[float, float] = Field(default=(0.02, 0.98), strict=False)
    """[low, high]: the noise levels, spread evenly over the prompts and draws of an iteration."""
    shared: bool = True
    """The images of a group get the same noise, which then cancels in their comparison."""

    @model_validator(mode="after")
    def _levels_are_noisy(self) -> "RenoiseConfig":
        low, high = self.range
        if not 0 < low <= high < 1:
            raise ValueError(f"renoise.range = [{low}, {high}]: must be [low, high] with 0 < low <= high < 1")
        return self


class ScoringConfig(Section):
    """How rewards are called, and what happens when a score fails. A failed score is never counted as 0.

    Only what may pass is retried: a score of NaN, and errors of the network (`OSError`: `ConnectionError`,
    `TimeoutError`, servers that fail). An image that still has no score is left out and its group is compared without
    it. None means no score and is final. Any other error (a bug, a missing file or package, a refused request, the
    wrong number of scores) stops training at once, unless `on_error` says otherwise.
    """

    threads: int = Field(default=1, ge=1, le=1000)
    """Concurrent reward calls. More than 1 pays for rewards that wait for a server."""
    retries: int = Field(default=2, ge=0, le=1000)
    """Further calls for images whose score is NaN, or after a network error. Clients of servers back off themselves."""
    on_error: Literal["stop", "skip"] = "stop"
    """When a reward still raises after the retries: stop training, or skip those images as if they were NaN."""
    max_failed_fraction: float = Field(default=0.2, ge=0, le=1)
    """Training stops if a larger fraction of an iteration's scores fails: the rest is no fair sample any more."""


class LoraConfig(Section):
    rank: int = Field(default=64, ge=1, le=16384)
    """Of the matrices that an adapter adds to a layer: more of it learns more, and takes more memory."""
    alpha: float = Field(default=128, gt=0, le=1e6)
    """An adapter counts alpha / rank times."""


class UpdateConfig(Section):
    """How gradients become weight updates."""

    learning_rate: float = Field(default=1e-5, gt=0, le=1)
    """Of AdamW, after the warm-up. LoRA usually wants ten times the rate of full tuning."""
    warmup_iterations: int = Field(default=0, ge=0, le=10_000_000)
    """Iterations over which the learning rate rises from 0."""
    schedule: Literal["constant", "linear"] = "constant"
    """The learning rate after the warm-up: constant, or linear to 0 at the last iteration."""
    weight_decay: float = Field(default=1e-4, ge=0, le=1)
    """Of AdamW."""
    betas: tuple[Beta, Beta] = Field(default=(0.9, 0.999), strict=False)
    """Of AdamW: how long it remembers gradients and their squares."""
    minibatches: int = Field(default=1, ge=1, le=100_000)
    """Mini-batches that an iteration's images are split into; each is one optimizer step."""
    passes: int = Field(default=1, ge=1, le=1000)
    """Passes over an iteration's images, each split anew into mini-batches. From the second on a ratio moves away from
    1, so that more than one needs an objective that holds it.
    """
    split_groups: bool = False
    """Give each mini-batch a part of every group, instead of whole groups. For fewer prompts a process than there are
    mini-batches: with whole groups, most processes would have nothing to do in each.
    """
    max_grad_norm: float = Field(default=1.0, ge=1e-8, le=1e12)
    """A gradient with a larger norm is scaled down to it."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights, which is evaluated and exported instead of them."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""


class EvaluationConfig(Section):
    every: int = Field(default=0, ge=0, le=10_000_000)
    """Iterations between evaluations. 0: only the model before training and after it."""
    prompts: int = Field(default=64, ge=1, le=10_000_000)
    """Number of evaluation prompts, spread evenly over the list; all where it has fewer."""
    steps: int = Field(default=20, ge=1, le=10_000)
    """Euler steps per image."""
    best: str | None = None
    """The reward that says which checkpoint is the best. null: the weighted sum of those that are trained on."""


class SaveConfig(Section):
    every: int = Field(default=25, ge=1, le=10_000_000)
    """Iterations between checkpoints. The last iteration is always saved."""
    keep: int = Field(default=2, ge=1, le=10_000_000)
    """Number of newest checkpoints kept. Iteration 0 is also kept until it has been evaluated."""


class ParallelConfig(Section):
    """How several processes share the trained networks. Each draws and learns from its own share of the prompts."""

    shard: Shard = "auto"
    """Which part of weights, gradients and optimizer state a process holds. `none`: all of it. `full`: a share among
    all processes. `hybrid`: a share among those of its machine. `auto`: `none` where all of it takes less than half of
    the accelerator's memory, else `full` on one machine and `hybrid` on several.
    """
    offload: bool = False
    """Keep the shares in the machine's memory and bring them to the accelerator block by block: slow, and the last
    resort where nothing else fits.
    """

    @model_validator(mode="after")
    def _only_shares_are_offloaded(self) -> "ParallelConfig":
        if self.offload and self.shard == "none":
            raise ValueError("parallel.offload = True: needs parallel.shard = full or hybrid")
        return self


class SpeedConfig(Section):
    """What makes a run faster and changes its results by no more than rounding.

    `mixgrpo bench --levers` measures each. What changes the result (window, solver, compressed suffix) has sections of
    its own.
    """

    share_computation: bool = True
    """Compute what the images of a group have in common once, in rollout and update."""
    overlap_rewards: bool = True
    """Score images on other threads while the next ones are drawn."""
    fused_optimizer: bool = True
    """One kernel for the AdamW step."""
    channels_last: bool = True
    """Store the VAE's convolution weights in channels-last layout."""
    keep_text_encoders: bool = False
    """Keep the text encoders on the accelerator. Otherwise they wait in the machine's memory and are copied for each
    iteration: 9 GiB less for FLUX.1, for about a second.
    """
    text_cache: str | None = None
    """A folder for text embeddings, so that no prompt is encoded twice, in this run or in later ones."""
    text_cache_gib: float = Field(default=10.0, gt=0, le=1e6)
    """Size limit of that folder. FLUX.1 takes 4 MiB a prompt."""
    compile: bool = False
    """torch.compile on the repeated blocks and the VAE decoder. Takes about a minute before the first images, and a C++
    compiler on a CPU, so it pays in runs of a quarter of an hour or more. A resumed run compiles again and may then
    round differently from one that was never interrupted.
    """
