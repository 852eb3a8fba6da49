"""What a recipe may say about learning: the update, the adapters, prompts, evaluation, what is kept."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PromptsConfig(Section):
    train: str = "scenes"
    """`scenes`, the endless stream of the world of scenes; or a .txt (a prompt a line) or .jsonl file."""
    evaluation: str = "scenes"
    """Prompts that are never trained on, in the same forms."""


class LoraConfig(Section):
    rank: int = Field(default=64, ge=1)
    alpha: float = Field(default=128, gt=0)


class UpdateConfig(Section):
    learning_rate: float = Field(default=1e-5, gt=0)
    warm_up: int = Field(default=0, ge=0)
    """Iterations over which the learning rate rises from 0."""
    decay: Literal["constant", "linear"] = "constant"
    """How the learning rate goes on: as it is, or down to 0 at the last iteration."""
    weight_decay: float = Field(default=1e-4, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    updates: int = Field(default=1, ge=1)
    """Optimizer steps per iteration, each on its share of the images."""
    clip_range: float = Field(default=1e-4, gt=0)
    """How far a ratio may move from 1 before its gradient is cut. Tiny, because log-probabilities are means."""
    advantage_clip: float = Field(default=5.0, gt=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    kl: float = Field(default=0.0, ge=0)
    """Weight of the KL to the model as it was before training."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of an average of the weights over updates; evaluated and exported in their place."""
    checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""


class EvaluationConfig(Section):
    every: int = Field(default=0, ge=0)
    """Iterations between evaluations; 0: before the first and after the last only."""
    prompts: int = Field(default=64, ge=1)
    """The first so many evaluation prompts, or all where there are fewer."""
    steps: int = Field(default=20, ge=1)
    """Euler steps."""


class SaveConfig(Section):
    every: int = Field(default=25, ge=1)
    """Iterations between checkpoints. The last iteration is always saved."""
    keep: int = Field(default=2, ge=1)
    """Checkpoints kept, the newest."""
