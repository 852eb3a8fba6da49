"""Z-Image: its time runs from 0 to 1 and its output is the negative velocity; texts keep their own lengths.

Guidance is added to the conditional velocity, v + s (v - v_empty), so that 0 turns it off.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mixgrpo.data.prompts import Prompt
from mixgrpo.sampling.field import Conditioning
from mixgrpo.sampling.schedule import SigmaGrid

from .base import Adapter, PipelineModel
from .common import ATTENTION, guided, patch_multiple, patches, pixels, scaled
from .scheduler import even, mu_by_tokens, scheduler_grid


def _stock_options(model: PipelineModel) -> dict[str, Any]:
    return {"guidance_scale": model.guidance}


def _latent_shape(model: PipelineModel) -> tuple[int, ...]:
    rows, columns = patches(model)
    return model.pipeline.transformer.in_channels, 2 * rows, 2 * columns


def _grid(model: PipelineModel, num_steps: int) -> SigmaGrid:
    rows, columns = patches(model)
    scheduler = model.pipeline.scheduler
    return scheduler_grid(scheduler, num_steps, mu_by_tokens(scheduler, rows * columns), even(num_steps))


def _encode(model: PipelineModel, prompts: Sequence[Prompt]) -> Conditioning:
    return Conditioning(_embeds(model, [prompt.text for prompt in prompts]), _embeds(model, [""]))


def _embeds(model: PipelineModel, texts: list[str]) -> dict[str, Tensor]:
    """Padded to the longest; the mask marks the real tokens. Without padding there is none."""
    rows, _ = model.pipeline.encode_prompt(
        texts, do_classifier_free_guidance=False, max_sequence_length=model.max_sequence_length or 512
    )
    if len({len(row) for row in rows}) == 1:
        return {"embeds": torch.stack([*rows])}
    mask = [torch.ones(len(row), dtype=torch.long, device=row.device) for row in rows]
    return {"embeds": pad_sequence(rows, batch_first=True), "mask": pad_sequence(mask, batch_first=True)}


def _velocity(model: PipelineModel, x: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
    texts = _texts(conditioning.per_prompt)
    if model.guidance <= 0:
        return _predict(model, x, sigma, texts)
    empty = _texts(conditioning.common) * len(x)
    conditional, unconditional = _predict(model, torch.cat([x, x]), torch.cat([sigma, sigma]), texts + empty).chunk(2)
    return guided(unconditional, conditional, 1 + model.guidance)


def _texts(padded: dict[str, Tensor]) -> list[Tensor]:
    if "mask" not in padded:
        return [*padded["embeds"]]
    lengths = padded["mask"].sum(1).tolist()
    return [row[:length] for row, length in zip(padded["embeds"], lengths, strict=True)]


def _predict(model: PipelineModel, x: Tensor, sigma: Tensor, texts: list[Tensor]) -> Tensor:
    transformer = model.pipeline.transformer
    images = [*x.to(transformer.dtype)[:, :, None]]  # each a video of one frame
    negative = transformer(images, (1000 - 1000 * sigma.float()) / 1000, texts, return_dict=False)[0]
    return -torch.stack([*negative]).float()[:, :, 0]


def _decode(model: PipelineModel, latents: Tensor) -> Tensor:
    vae = model.pipeline.vae
    return pixels(vae.decode(scaled(vae, latents.to(vae.dtype)), return_dict=False)[0])


Z_IMAGE = Adapter(
    guidance="two rows of one call, 0 is off",
    default_guidance=5.0,
    lora_targets=ATTENTION,
    blocks=("noise_refiner", "context_refiner", "layers"),
    size_multiple=patch_multiple,
    latent_shape=_latent_shape,
    grid=_grid,
    stock_options=_stock_options,
    encode=_encode,
    velocity=_velocity,
    decode=_decode,
)
