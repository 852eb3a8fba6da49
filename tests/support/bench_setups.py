"""A small setup for measurements, and timings made up for tests."""

from typing import Any

import torch

import pipelines
from mixgrpo.bench.setup import BenchSetup
from mixgrpo.bench.timing import IterationTiming
from mixgrpo.models.base import FlowModel
from mixgrpo.models.load import adapt
from mixgrpo.recipe.sections import ModelConfig
from runs import small_recipe


def tiny_setup(**settings: Any) -> BenchSetup:
    """The tiny random-weight FLUX on a grid of eight steps."""
    base = small_recipe(rewards={"jpeg-compressibility": 1.0}, evaluation={"prompts": 3, "steps": 2})
    sizes = {"prompts": 2, "group_size": 3, "steps": 8}
    return BenchSetup(base, torch.device("cpu"), tiny_flux, **{**sizes, **settings})


def tiny_flux(config: ModelConfig, device: torch.device) -> FlowModel:
    return adapt(pipelines.flux(), config.height, config.width, guidance_scale=3.5, max_sequence_length=48)


def timing(rollout: float, update: float = 0.0, decode: float = 0.0) -> IterationTiming:
    return IterationTiming(rollout, decode, 0.0, update, rollout_rows=6, update_rows=6, peak_bytes=None)
