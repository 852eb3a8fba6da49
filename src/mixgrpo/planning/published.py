"""Published pipelines by their sizes alone: their weights are random, and nothing is downloaded."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from torch import nn
from transformers import (
    BatchEncoding,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)


class _Padded:
    """A tokenizer that knows no words: every text is as long as it may be."""

    def __init__(self, length: int) -> None:
        self.model_max_length = length
        self.added_tokens_encoder: dict[str, int] = {}

    def tokenize(self, text: str) -> list[str]:
        return []

    def apply_chat_template(self, messages: Sequence[Any], **_: object) -> str:
        return ""

    def __call__(self, texts: Sequence[str] | str, *, padding: str, max_length: int | None = None, **_: object) -> Any:
        rows = 1 if isinstance(texts, str) else len(texts)
        length = max_length if padding == "max_length" else 1
        ids = torch.zeros(rows, length or self.model_max_length, dtype=torch.long)
        return BatchEncoding({"input_ids": ids, "attention_mask": torch.ones_like(ids)})


@contextmanager
def built_as(dtype: torch.dtype, device: torch.device) -> Iterator[None]:
    """What is built here has this dtype and is there from the start: on the way it would take more memory than there
    is.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            yield
    finally:
        torch.set_default_dtype(before)


def published(path: str, dtype: torch.dtype, device: torch.device) -> DiffusionPipeline:
    with built_as(dtype, device):
        return PUBLISHED[path].build()


def modules(pipeline: DiffusionPipeline) -> list[nn.Module]:
    return [part for part in pipeline.components.values() if isinstance(part, nn.Module)]


def flux_transformer() -> FluxTransformer2DModel:
    """The defaults of its class are FLUX.1's sizes."""
    return FluxTransformer2DModel(guidance_embeds=True)


def flux_vae() -> AutoencoderKL:
    return _vae(scaling_factor=0.3611, shift_factor=0.1159)


def _flux_dev() -> FluxPipeline:
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=flux_vae(),
        text_encoder=CLIPTextModel(_clip_l()),
        tokenizer=_Padded(77),
        text_encoder_2=T5EncoderModel(_t5_xxl()),
        tokenizer_2=_Padded(512),
        transformer=flux_transformer(),
    )


def _sd35_medium() -> StableDiffusion3Pipeline:
    return _sd35(num_layers=24, num_attention_heads=24, pos_embed_max_size=384, dual_attention_layers=tuple(range(13)))


def _sd35_large() -> StableDiffusion3Pipeline:
    return _sd35(num_layers=38, num_attention_heads=38, pos_embed_max_size=192)


def _sd35(num_attention_heads: int, **sizes: Any) -> StableDiffusion3Pipeline:
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=128,
            num_attention_heads=num_attention_heads,
            caption_projection_dim=64 * num_attention_heads,
            qk_norm="rms_norm",
            **sizes,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(scaling_factor=1.5305, shift_factor=0.0609),
        text_encoder=CLIPTextModelWithProjection(_clip_l()),
        tokenizer=_Padded(77),
        text_encoder_2=CLIPTextModelWithProjection(_clip_g()),
        tokenizer_2=_Padded(77),
        text_encoder_3=T5EncoderModel(_t5_xxl()),
        tokenizer_3=_Padded(512),
    )


def _qwen_image() -> QwenImagePipeline:
    """The defaults of the classes are Qwen-Image's sizes. Its text encoder is Qwen2.5-VL-7B."""
    text = {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
    }
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584}
    return QwenImagePipeline(
        transformer=QwenImageTransformer2DModel(),
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02
        ),
        vae=AutoencoderKLQwenImage(),
        text_encoder=Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision)),
        tokenizer=None,
    )


def _flux2_klein_4b() -> Flux2KleinPipeline:
    return _flux2_klein(5, 20, 24, Qwen3ForCausalLM(_qwen3_4b()))


def _flux2_klein_9b() -> Flux2KleinPipeline:
    large = {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36}
    return _flux2_klein(8, 24, 32, Qwen3ForCausalLM(Qwen3Config(**large, **_QWEN3)))


def _flux2_klein(layers: int, single_layers: int, heads: int, text_encoder: Qwen3ForCausalLM) -> Flux2KleinPipeline:
    return Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=AutoencoderKLFlux2(),
        text_encoder=text_encoder,
        tokenizer=_Padded(512),
        transformer=Flux2Transformer2DModel(
            num_layers=layers,
            num_single_layers=single_layers,
            num_attention_heads=heads,
            joint_attention_dim=3 * text_encoder.config.hidden_size,
            guidance_embeds=False,
        ),
    )


def _z_image() -> ZImagePipeline:
    """The defaults of the network's class are Z-Image's sizes."""
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=flux_vae(),
        text_encoder=Qwen3Model(_qwen3_4b()),
        tokenizer=_Padded(512),
        transformer=ZImageTransformer2DModel(),
    )


_QWEN3 = {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936}


def _qwen3_4b() -> Qwen3Config:
    small = {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "tie_word_embeddings": True}
    return Qwen3Config(**small, **_QWEN3)


def _vae(scaling_factor: float, shift_factor: float) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=16,
        scaling_factor=scaling_factor,
        shift_factor=shift_factor,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


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


class Published(NamedTuple):
    kind: type[DiffusionPipeline]
    build: Callable[[], DiffusionPipeline]


PUBLISHED = {
    "black-forest-labs/FLUX.1-dev": Published(FluxPipeline, _flux_dev),
    "black-forest-labs/FLUX.2-klein-base-4B": Published(Flux2KleinPipeline, _flux2_klein_4b),
    "black-forest-labs/FLUX.2-klein-base-9B": Published(Flux2KleinPipeline, _flux2_klein_9b),
    "stabilityai/stable-diffusion-3.5-medium": Published(StableDiffusion3Pipeline, _sd35_medium),
    "stabilityai/stable-diffusion-3.5-large": Published(StableDiffusion3Pipeline, _sd35_large),
    "Qwen/Qwen-Image": Published(QwenImagePipeline, _qwen_image),
    "Tongyi-MAI/Z-Image": Published(ZImagePipeline, _z_image),
}

NOT_PLANNED = {"Qwen/Qwen-Image-2.1": "QwenImage21Pipeline"}
"""By the class of their pipelines. Their networks lay out a sequence by the values of a mask, and tensors without
memory have none.
"""
