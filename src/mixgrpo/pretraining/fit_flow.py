"""Train the transformer and the text encoders together, in two phases.

1. Velocity matching, v = noise - image, with one caption in ten replaced by the empty one. Two auxiliary linear heads,
   discarded afterwards, speed it up. A head on the first block predicts the position of each patch, which FLUX encodes
   only in the rotary embeddings of its attention. A head on a middle block predicts the content of each patch in the
   clean image: at high noise levels only the caption reveals it, so captions are learned sooner. Noise levels are
   drawn more often from the high end for the same reason, because a patch remains recognisable through much noise.
2. Guidance distillation, as for FLUX.1-dev: the network takes the guidance scale as an input and learns to predict the
   result of classifier-free guidance with the network from the end of phase 1.
"""

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import FluxPipeline
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from mixgrpo.scenes.render import SIZE

from .fit_vae import Log
from .stream import COLOUR_NAMES, EMPTY, PATCH, SYMBOL_NAMES, examples
from .tokens import tokenize

_DROPPED_CAPTIONS = 0.1
_CONTENT_WEIGHT, _POSITION_WEIGHT = 0.3, 0.3
_EMPTY_WEIGHT = 0.2  # most patches are empty, which says little about the caption
_MAX_GUIDANCE = 5.0
_EMA_DECAY = 0.999
_MATRIX_LEARNING_RATE, _OTHER_LEARNING_RATE = 8e-3, 3e-3

_SIDE = SIZE // PATCH

OnCheckpoint = Callable[[int, FluxPipeline], None]


@dataclass(frozen=True)
class Examples:
    """The training set, encoded once."""

    latents: Tensor
    """[scenes, patches, channels], packed for the transformer."""
    patch_labels: Tensor
    tokens: list[Tensor]
    """For each text encoder, [scenes, length]."""


def fit_flow(
    pipeline: FluxPipeline,
    data: Examples,
    steps: int,
    distillation_steps: int,
    batch: int,
    seed: int,
    log: Log,
    on_checkpoint: OnCheckpoint,
) -> None:
    """`on_checkpoint` is called every 1000 steps with the step and the pipeline with the averaged weights."""
    training = _Training(pipeline, data, batch, seed)
    # Not fused attention: on a CPU and at this size its backward pass takes half of a step's time.
    with sdpa_kernel(SDPBackend.MATH):
        for phase, count, rate_factor in (("flow", steps, 1.0), ("distillation", distillation_steps, 0.2)):
            training.begin_phase(count, rate_factor)
            smoothed = None
            for step in range(count):
                losses = training.flow_losses() if phase == "flow" else training.distillation_losses()
                training.update(losses, step)
                loss = losses[0].item()
                smoothed = loss if smoothed is None else 0.98 * smoothed + 0.02 * loss
                if (step + 1) % 50 == 0:
                    log(phase=phase, step=step + 1, loss=smoothed)
                if (step + 1) % 1000 == 0:
                    on_checkpoint(step + 1, training.averaged_pipeline())
    training.network.load_state_dict(training.average.state_dict())
    training.network.eval().requires_grad_(False)


class _Training:
    def __init__(self, pipeline: FluxPipeline, data: Examples, batch: int, seed: int) -> None:
        self.pipeline, self.data, self.batch = pipeline, data, batch
        self.network = nn.ModuleList([pipeline.transformer, pipeline.text_encoder, pipeline.text_encoder_2])
        self.network.train().requires_grad_(True)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.empty_tokens = tokenize(pipeline, [""])
        self.image_ids = pipeline._prepare_latent_image_ids(1, _SIDE, _SIDE, "cpu", torch.float32)
        self.generator = torch.Generator().manual_seed(seed)
        self.order: list[int] = []

    def begin_phase(self, steps: int, rate_factor: float) -> None:
        """Starts from the averaged weights of the previous phase, a copy of which becomes the teacher."""
        self.network.load_state_dict(self.average.state_dict())
        self.teacher = copy.deepcopy(self.average)
        transformer = self.pipeline.transformer
        self.position_head = nn.Linear(transformer.inner_dim, 2 * _SIDE)
        self.content_head = nn.Linear(transformer.inner_dim, 2 + len(COLOUR_NAMES) + len(SYMBOL_NAMES))
        # Muon for the matrices between the embeddings and the output layer, AdamW for the rest.
        matrices = [
            parameter
            for name, parameter in transformer.named_parameters()
            if parameter.ndim == 2 and "embedder" not in name and not name.startswith("proj_out")
        ]
        matrix_ids = {id(parameter) for parameter in matrices}
        heads = nn.ModuleList([self.position_head, self.content_head])
        others = [p for p in (*self.network.parameters(), *heads.parameters()) if id(p) not in matrix_ids]
        self.optimizers = [
            torch.optim.Muon(
                matrices, lr=rate_factor * _MATRIX_LEARNING_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(others, lr=rate_factor * _OTHER_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01),
        ]
        self.schedules = [
            torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_up_hold_decay(step, steps))
            for optimizer in self.optimizers
        ]

    def flow_losses(self) -> list[Tensor]:
        rows, x, sigma, target = self._noised_batch()
        dropped = torch.rand(len(rows), generator=self.generator) < _DROPPED_CAPTIONS
        tokens = [
            torch.where(dropped[:, None], empty, ids[rows])
            for empty, ids in zip(self.empty_tokens, self.data.tokens, strict=True)
        ]
        transformer = self.pipeline.transformer
        patches: list[Tensor] = []
        hooks = [
            block.register_forward_hook(lambda module, inputs, outputs: patches.append(outputs[1]))
            for block in (transformer.transformer_blocks[0], transformer.single_transformer_blocks[0])
        ]
        with torch.autocast("cpu", torch.bfloat16):
            predicted = velocity(self.network, x, sigma, torch.ones(len(rows)), tokens, self.image_ids)
            positions = self.position_head(patches[0]).float()
            contents = self.content_head(patches[1]).float().flatten(0, 1)
        for hook in hooks:
            hook.remove()
        colour, symbol = self.data.patch_labels[rows].flatten(0, 1).unbind(1)
        content = _content_loss(contents[:, : 1 + len(COLOUR_NAMES)], colour)
        content = content + _content_loss(contents[:, 1 + len(COLOUR_NAMES) :], symbol)
        flow = functional.mse_loss(predicted.float(), target)
        return [flow, _CONTENT_WEIGHT * content, _POSITION_WEIGHT * _position_loss(positions)]

    def distillation_losses(self) -> list[Tensor]:
        rows, x, sigma, _ = self._noised_batch()
        count = len(rows)
        tokens = [ids[rows] for ids in self.data.tokens]
        empty_tokens = [ids.expand(count, -1) for ids in self.empty_tokens]
        guidance = 1 + (_MAX_GUIDANCE - 1) * torch.rand(count, generator=self.generator)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                conditional = velocity(self.teacher, x, sigma, torch.ones(count), tokens, self.image_ids).float()
                unconditional = velocity(
                    self.teacher, x, sigma, torch.ones(count), empty_tokens, self.image_ids
                ).float()
            predicted = velocity(self.network, x, sigma, guidance, tokens, self.image_ids)
        target = torch.lerp(unconditional, conditional, guidance.view(-1, 1, 1))
        return [functional.mse_loss(predicted.float(), target)]

    def _noised_batch(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The next mini-batch: row numbers, noised latents x, their sigma, and the target velocity noise - image."""
        if len(self.order) < self.batch:
            self.order = torch.randperm(len(self.data.latents), generator=self.generator).tolist()
        rows, self.order = torch.tensor(self.order[: self.batch]), self.order[self.batch :]
        image = self.data.latents[rows]
        noise = torch.randn(image.shape, generator=self.generator)
        # Logit-normal, with the same time shift as the scheduler's grid.
        shift = math.log(self.pipeline.scheduler.config.shift)
        sigma = torch.sigmoid(torch.randn(self.batch, generator=self.generator) + shift)
        return rows, torch.lerp(image, noise, sigma.view(-1, 1, 1)), sigma, noise - image

    def update(self, losses: list[Tensor], step: int) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        for schedule in self.schedules:
            schedule.step()
        decay = min(_EMA_DECAY, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_([*self.average.parameters()], [*self.network.parameters()], 1 - decay)

    def averaged_pipeline(self) -> FluxPipeline:
        transformer, clip, t5 = self.average
        return FluxPipeline(
            **{**self.pipeline.components, "transformer": transformer, "text_encoder": clip, "text_encoder_2": t5}
        )


def _position_loss(logits: Tensor) -> Tensor:
    """Cross-entropy of each patch's row and column. Logits [images, patches, rows + columns]."""
    position = torch.arange(_SIDE**2).repeat(len(logits))
    rows, columns = torch.split(logits.flatten(0, 1), _SIDE, dim=1)
    return functional.cross_entropy(rows, position // _SIDE) + functional.cross_entropy(columns, position % _SIDE)


def _content_loss(logits: Tensor, labels: Tensor) -> Tensor:
    weights = torch.ones(logits.shape[1])
    weights[EMPTY] = _EMPTY_WEIGHT
    return functional.cross_entropy(logits, labels, weights)


@torch.no_grad()
def encode_examples(pipeline: FluxPipeline, count: int, seed: int) -> Examples:
    vae = pipeline.vae
    source = itertools.islice(examples(seed), count)
    captions: list[str] = []
    latents: list[Tensor] = []
    patch_labels: list[Tensor] = []
    while batch := [*itertools.islice(source, 256)]:
        captions += [example.caption for example in batch]
        patch_labels += [example.patch_labels for example in batch]
        with torch.autocast("cpu", torch.bfloat16):
            encoded = vae.encode(torch.stack([example.image for example in batch])).latent_dist.mean.float()
        encoded = (encoded - vae.config.shift_factor) * vae.config.scaling_factor
        latents.append(pipeline._pack_latents(encoded, len(batch), *encoded.shape[1:]))
    return Examples(torch.cat(latents), torch.stack(patch_labels), tokenize(pipeline, captions))


def velocity(
    network: nn.ModuleList, x: Tensor, sigma: Tensor, guidance: Tensor, tokens: list[Tensor], image_ids: Tensor
) -> Tensor:
    """The velocity that the pipeline computes, but from token ids and differentiable."""
    transformer, clip, t5 = network
    predicted: Tensor = transformer(
        hidden_states=x,
        timestep=sigma,
        guidance=guidance,
        pooled_projections=clip(tokens[0]).pooler_output,
        encoder_hidden_states=t5(tokens[1])[0],
        txt_ids=torch.zeros(tokens[1].shape[1], 3),
        img_ids=image_ids,
        return_dict=False,
    )[0]
    return predicted


def warm_up_hold_decay(step: int, steps: int) -> float:
    """Linear warm-up over the first 100 steps, linear decay to 0 over the last 40%."""
    return min(1.0, (step + 1) / 100, (steps - step) / (0.4 * steps))
