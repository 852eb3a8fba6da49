"""The tiny random-weight FLUX of the other tests, on a device."""

from typing import Any

import torch

import pipelines
from mixgrpo.models.load import adapt
from mixgrpo.training.trainer import Trainer
from runs import small_trainer


def trainer_on(device: torch.device, dtype: str = "float32", **sections: Any) -> Trainer:
    pipeline = pipelines.flux().to(device, getattr(torch, dtype))
    model = adapt(pipeline, height=32, width=24, guidance_scale=3.5, max_sequence_length=48)
    settings = {"path": "given", "dtype": dtype, "height": 32, "width": 24}
    return small_trainer(flow_model=model, model=settings, **sections)
