"""A recipe's model on the device without memory."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from mixgrpo.data.prompts import Prompt
from mixgrpo.models.base import PipelineModel
from mixgrpo.models.load import adapted, load_model
from mixgrpo.models.qwen_image import QWEN_IMAGE
from mixgrpo.models.resting import replace_tensors
from mixgrpo.recipe.sections import ModelConfig
from mixgrpo.sampling.field import Conditioning

from .published import PUBLISHED, modules, published
from .stand_in import STAND_IN

_QWEN_TOKENS = 128
"""Of a prompt: how many Qwen-Image keeps depends on the text."""


def sized_model(config: ModelConfig) -> PipelineModel:
    """A model of the size that the recipe names, on the device without memory. A folder or the tiny model is read as it
    is, for its sizes.
    """
    dtype: torch.dtype = getattr(torch, config.dtype)
    if config.path not in PUBLISHED:
        loaded = load_model(config)
        assert isinstance(loaded, PipelineModel)
        # `Module.to` cannot exchange parameters for ones without memory.
        replace_tensors(modules(loaded.pipeline), lambda tensor: tensor.to(STAND_IN))
        return loaded
    pipeline = published(config.path, dtype, STAND_IN)
    for part in modules(pipeline):
        _move_buffers(part, dtype)
    model = adapted(pipeline, config)
    return replace(model, adapter=replace(QWEN_IMAGE, encode=_qwen_texts)) if model.adapter is QWEN_IMAGE else model


def _move_buffers(part: nn.Module, dtype: torch.dtype) -> None:
    """Those that are computed with numpy."""
    for module in part.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(STAND_IN, dtype if buffer.is_floating_point() else buffer.dtype))


def _qwen_texts(model: PipelineModel, prompts: Sequence[Prompt]) -> Conditioning:
    dtype = model.pipeline.vae.dtype

    def embeds(count: int, tokens: int) -> Tensor:
        return torch.zeros(count, tokens, 3584, dtype=dtype).to(STAND_IN)

    mask = torch.ones(len(prompts), _QWEN_TOKENS, dtype=torch.long).to(STAND_IN)
    return Conditioning({"embeds": embeds(len(prompts), _QWEN_TOKENS), "mask": mask}, {"embeds": embeds(1, 6)})
