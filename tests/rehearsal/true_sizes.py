"""The big models at their true size, on the stand-in device: published configurations, no weights.

The text encoders are real ones, too; only the tokenizers are small. Qwen-Image's is left out, because how many tokens
it keeps depends on values: its embeddings are made up.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

import pipelines
from mixgrpo.bench import flux_dev_shape
from mixgrpo.data.prompts import Prompt
from mixgrpo.models.base import PipelineModel
from mixgrpo.models.load import ADAPTERS, adapt
from mixgrpo.models.qwen_image import QWEN_IMAGE
from mixgrpo.planning.stand_in import STAND_IN
from mixgrpo.recipe.sections import ModelConfig
from mixgrpo.sampling.field import Conditioning

PARAMETERS = {
    "flux-dev": 11_901_408_320,
    "sd35-medium": 2_243_171_520,
    "sd35-large": 8_056_627_520,
    "qwen-image": 20_430_401_088,
}
"""Of the transformer."""

_TEXT_ENCODER_BLOCKS = ("block", "layers")
_QWEN_TOKENS, _QWEN_WIDTH = 40, 3584


class _Ends(nn.ModuleList):
    """Of blocks that are alike only the first and the last are run. All are there, trained and saved."""

    def __iter__(self) -> Iterator[nn.Module]:
        kinds: dict[object, list[nn.Module]] = {}
        for block in self._modules.values():
            shapes = tuple((name, parameter.shape) for name, parameter in block.named_parameters())
            kinds.setdefault(shapes, []).append(block)
        return iter([block for alike in kinds.values() for block in dict.fromkeys((alike[0], alike[-1]))])


def true_size(name: str, config: ModelConfig, all_blocks: bool = False) -> PipelineModel:
    """`all_blocks`: run them all."""
    dtype: torch.dtype = getattr(torch, config.dtype)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with STAND_IN:
            pipeline = _PIPELINES[name]()
    finally:
        torch.set_default_dtype(before)
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            _move_buffers(part, dtype)
    if not all_blocks:
        repeated = {*ADAPTERS[type(pipeline).__name__].blocks, *_TEXT_ENCODER_BLOCKS}
        for part in pipeline.components.values():
            if isinstance(part, nn.Module):
                _run_ends_only(part, repeated)
    model = adapt(pipeline, config.height, config.width, config.guidance_scale, config.max_sequence_length)
    return replace(model, adapter=replace(QWEN_IMAGE, encode=_qwen_texts)) if name == "qwen-image" else model


def _run_ends_only(part: nn.Module, repeated: Collection[str]) -> None:
    for module in [*part.modules()]:
        for name, blocks in [*module.named_children()]:
            if name in repeated and isinstance(blocks, nn.ModuleList):
                setattr(module, name, _Ends(blocks))


def _move_buffers(part: nn.Module, dtype: torch.dtype) -> None:
    """Those that are computed with numpy. `Module.to` cannot exchange parameters without memory."""
    for module in part.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(STAND_IN, dtype if buffer.is_floating_point() else buffer.dtype))


def _flux_dev() -> FluxPipeline:
    tiny = pipelines.flux()
    return FluxPipeline(
        scheduler=tiny.scheduler,
        vae=flux_dev_shape.vae(),
        text_encoder=CLIPTextModel(_clip_l()),
        tokenizer=tiny.tokenizer,
        text_encoder_2=T5EncoderModel(_t5_xxl()),
        tokenizer_2=tiny.tokenizer_2,
        transformer=flux_dev_shape.transformer(torch.get_default_dtype()),
    )


def _sd35_medium() -> StableDiffusion3Pipeline:
    return _sd35(num_layers=24, num_attention_heads=24, pos_embed_max_size=384, dual_attention_layers=tuple(range(13)))


def _sd35_large() -> StableDiffusion3Pipeline:
    return _sd35(num_layers=38, num_attention_heads=38, pos_embed_max_size=192)


def _sd35(num_attention_heads: int, **sizes: Any) -> StableDiffusion3Pipeline:
    tiny = pipelines.sd3()
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=128,
            num_attention_heads=num_attention_heads,
            caption_projection_dim=64 * num_attention_heads,
            qk_norm="rms_norm",
            **sizes,
        ),
        scheduler=tiny.scheduler,
        vae=_sd35_vae(),
        text_encoder=CLIPTextModelWithProjection(_clip_l()),
        tokenizer=tiny.tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(_clip_g()),
        tokenizer_2=tiny.tokenizer_2,
        text_encoder_3=T5EncoderModel(_t5_xxl()),
        tokenizer_3=tiny.tokenizer_3,
    )


def _qwen_image() -> QwenImagePipeline:
    """The defaults of the classes are Qwen-Image's sizes."""
    return QwenImagePipeline(
        transformer=QwenImageTransformer2DModel(),
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02
        ),
        vae=AutoencoderKLQwenImage(),
        text_encoder=None,
        tokenizer=None,
    )


def _sd35_vae() -> AutoencoderKL:
    vae = flux_dev_shape.vae()
    vae.register_to_config(scaling_factor=1.5305, shift_factor=0.0609)
    return vae


def _clip_l() -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768
    )


def _clip_g() -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=1280,
        intermediate_size=5120,
        num_hidden_layers=32,
        num_attention_heads=20,
        projection_dim=1280,
        hidden_act="gelu",
    )


def _t5_xxl() -> T5Config:
    return T5Config(
        vocab_size=32128, d_model=4096, d_ff=10240, d_kv=64, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu"
    )


def _qwen_texts(model: PipelineModel, prompts: Sequence[Prompt]) -> Conditioning:
    """Every second prompt is shorter, and the empty prompt is short."""
    mask = torch.ones(len(prompts), _QWEN_TOKENS, dtype=torch.long)
    mask[1::2, _QWEN_TOKENS // 2 :] = 0
    dtype = model.pipeline.vae.dtype
    embeds, empty = (
        torch.zeros(n, tokens, _QWEN_WIDTH, dtype=dtype) for n, tokens in ((len(prompts), _QWEN_TOKENS), (1, 6))
    )
    return Conditioning({"embeds": embeds.to(STAND_IN), "mask": mask.to(STAND_IN)}, {"embeds": empty.to(STAND_IN)})


_PIPELINES = {"flux-dev": _flux_dev, "sd35-medium": _sd35_medium, "sd35-large": _sd35_large, "qwen-image": _qwen_image}
