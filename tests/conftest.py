"""The models that tests run on."""

import os
import signal

os.environ["HF_HUB_OFFLINE"] = "1"
# One thread each, also in the processes that tests start: pytest runs as many workers as there are cores, and OpenMP's
# threads spin for a core that is taken.
os.environ["OMP_NUM_THREADS"] = "1"

from functools import cache

import pytest
import torch

import pipelines
from mixgrpo.models.base import FlowModel
from mixgrpo.models.load import adapt

pytest_plugins = ["browser"]

torch.set_num_threads(1)
# A shell lets what it starts in the background ignore Ctrl-C, and so would the processes that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@cache
def tiny_model(name: str) -> FlowModel:
    match name:
        case "flux":
            return adapt(pipelines.flux(), height=32, width=24, guidance_scale=3.5, max_sequence_length=48)
        case "sd3":
            return adapt(pipelines.sd3(), height=32, width=24, guidance_scale=4.5, max_sequence_length=48)
        case "qwen_image":
            return adapt(pipelines.qwen_image(), height=32, width=24, guidance_scale=4.0)
        case "qwen_image_21":
            return adapt(pipelines.qwen_image_21(), height=64, width=32, guidance_scale=4.0)
        case "flux2_klein":
            return adapt(pipelines.flux2_klein(), height=32, width=24, guidance_scale=4.0, max_sequence_length=96)
    return adapt(pipelines.z_image(), height=32, width=24, guidance_scale=4.0, max_sequence_length=96)


@pytest.fixture(params=["flux", "sd3", "qwen_image", "qwen_image_21", "flux2_klein", "z_image"])
def model(request: pytest.FixtureRequest) -> FlowModel:
    """Each supported model in turn, with guidance on: real adapters over tiny pipelines, built once."""
    return tiny_model(request.param)


@pytest.fixture
def flux() -> FlowModel:
    return tiny_model("flux")
