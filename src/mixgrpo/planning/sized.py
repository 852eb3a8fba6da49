"""A recipe's model on the device without memory."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import nn

from mixgrpo.data.prompts import Prompt
from mixgrpo.models.base import PipelineModel
from mixgrpo.models.flux2_klein import ids
from mixgrpo.models.load import adapted, load_model
from mixgrpo.models.resting import replace_tensors
from mixgrpo.recipe.sections import ModelConfig
from mixgrpo.sampling.field import Conditioning

from .published import NOT_PLANNED, PUBLISHED, modules, published
from .stand_in import STAND_IN

_TEXT_TOKENS, _EMPTY_TOKENS = 128, 6
"""Of a prompt, where that depends on the text, and of the empty one."""


def sized_model(config: ModelConfig) -> PipelineModel:
    """A model of the size that the recipe names, on the device without memory. A folder or the tiny model is read as it
    is, for its sizes.
    """
    dtype: torch.dtype = getattr(torch, config.dtype)
    if config.path not in PUBLISHED:
        refuse_unplanned(NOT_PLANNED.get(config.path, ""))
        loaded = load_model(config)
        assert isinstance(loaded, PipelineModel)
        refuse_unplanned(type(loaded.pipeline).__name__)
        # `Module.to` cannot exchange parameters for ones without memory.
        replace_tensors(modules(loaded.pipeline), lambda tensor: tensor.to(STAND_IN))
        return loaded
    pipeline = published(config.path, dtype, STAND_IN)
    for part in modules(pipeline):
        _move_buffers(part, dtype)
    model = adapted(pipeline, config)
    encode = _MADE_UP.get(type(pipeline).__name__, model.adapter.encode)
    return replace(model, adapter=replace(model.adapter, encode=encode))


def refuse_unplanned(kind: str) -> None:
    if kind in NOT_PLANNED.values():
        raise ValueError(
            f"{kind} cannot be planned: its network reads the values of its tensors, and the plan's have none. "
            "The checks before the first iteration say what it holds"
        )


def _move_buffers(part: nn.Module, dtype: torch.dtype) -> None:
    """Those that are computed with numpy."""
    for module in part.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(STAND_IN, dtype if buffer.is_floating_point() else buffer.dtype))


def _texts(width: int, tokens: int, masked: bool = False) -> Callable[[PipelineModel, Sequence[Prompt]], Conditioning]:
    """In place of encoding: which tokens are kept depends on their values, and a text encoder of which blocks are left
    out has no hidden states of its middle.
    """

    def encode(model: PipelineModel, prompts: Sequence[Prompt]) -> Conditioning:
        rows = torch.zeros(len(prompts), tokens, width, dtype=model.pipeline.vae.dtype).to(STAND_IN)
        mask = {"mask": torch.ones(len(prompts), tokens, dtype=torch.long).to(STAND_IN)} if masked else {}
        return Conditioning({"embeds": rows, **mask}, {"embeds": rows[:1, :_EMPTY_TOKENS]})

    return encode


def _klein_texts(model: PipelineModel, prompts: Sequence[Prompt]) -> Conditioning:
    width, tokens = model.pipeline.transformer.config.joint_attention_dim, model.max_sequence_length or 512
    rows = torch.zeros(len(prompts), tokens, width, dtype=model.pipeline.vae.dtype).to(STAND_IN)
    return Conditioning({"embeds": rows}, {"empty": rows[:1], **ids(model, rows)})


_MADE_UP = {
    "QwenImagePipeline": _texts(3584, _TEXT_TOKENS, masked=True),
    "ZImagePipeline": _texts(2560, _TEXT_TOKENS),
    "Flux2KleinPipeline": _klein_texts,
}
