"""Train transformer and text encoders together, in two phases.

First velocity matching, v = noise - image, with a caption in ten left out. Two linear heads ask for more, and
are thrown away. One on the first block asks each patch where it is, which FLUX says only by rotations in its
attention. One on a middle block asks what the clean picture shows there: from far in the noise only the caption
can tell, so the captions are learned sooner. Times lean to that end, too: a patch shows much through the noise.

Then, as FLUX.1-dev was made, guidance distillation: the network learns, for a guidance scale it is told, what
classifier-free guidance of its own earlier self would say.
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
from .stream import COLOUR_NAMES, FORM_NAMES, NOTHING, PATCH, examples
from .tokens import tokenize

_DROPPED_CAPTIONS = 0.1
_NAMING_WEIGHT, _PLACING_WEIGHT = 0.3, 0.3
_NOTHING_WEIGHT = 0.2  # most patches show nothing, and that says little of the caption
_STRONGEST_GUIDANCE = 5.0
_AVERAGING = 0.999
_MATRIX_RATE, _OTHER_RATE = 8e-3, 3e-3

_SIDE = SIZE // PATCH

Look = Callable[[int, FluxPipeline], None]


@dataclass(frozen=True)
class Examples:
    """Encoded once, drawn from many times."""

    latents: Tensor
    """[scenes, patches, channels], as the transformer sees them"""
    shown: Tensor
    tokens: list[Tensor]
    """For each of the text encoders, [scenes, length]"""


def fit_flow(
    pipeline: FluxPipeline,
    data: Examples,
    steps: int,
    distillation_steps: int,
    batch: int,
    seed: int,
    log: Log,
    look: Look,
) -> None:
    """`look` is called now and then with the pipeline as it would be if training ended here."""
    training = _Training(pipeline, data, batch, seed)
    # The fused attention's backward pass is slow on a CPU: half of a step's time, at this size.
    with sdpa_kernel(SDPBackend.MATH):
        for phase, count, rate in (("flow", steps, 1.0), ("distillation", distillation_steps, 0.2)):
            training.begin(count, rate)
            smoothed = None
            for step in range(count):
                losses = training.flow_losses() if phase == "flow" else training.distillation_losses()
                training.update(losses, step)
                loss = losses[0].item()
                smoothed = loss if smoothed is None else 0.98 * smoothed + 0.02 * loss
                if (step + 1) % 50 == 0:
                    log(phase=phase, step=step + 1, loss=smoothed)
                if (step + 1) % 1000 == 0:
                    look(step + 1, training.averaged_pipeline())
    training.network.load_state_dict(training.average.state_dict())
    training.network.eval().requires_grad_(False)


class _Training:
    def __init__(self, pipeline: FluxPipeline, data: Examples, batch: int, seed: int) -> None:
        self.pipeline, self.data, self.batch = pipeline, data, batch
        self.network = nn.ModuleList([pipeline.transformer, pipeline.text_encoder, pipeline.text_encoder_2])
        self.network.train().requires_grad_(True)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.nothing = tokenize(pipeline, [""])
        self.image_ids = pipeline._prepare_latent_image_ids(1, _SIDE, _SIDE, "cpu", torch.float32)
        self.generator = torch.Generator().manual_seed(seed)
        self.order: list[int] = []

    def begin(self, steps: int, rate: float) -> None:
        """A phase: from the averaged weights of the one before, which stay as its teacher."""
        self.network.load_state_dict(self.average.state_dict())
        self.teacher = copy.deepcopy(self.average)
        transformer = self.pipeline.transformer
        self.placing_head = nn.Linear(transformer.inner_dim, 2 * _SIDE)
        self.naming_head = nn.Linear(transformer.inner_dim, 2 + len(COLOUR_NAMES) + len(FORM_NAMES))
        # Muon for the matrices between embeddings and output, AdamW for the rest.
        matrices = [
            parameter
            for name, parameter in transformer.named_parameters()
            if parameter.ndim == 2 and "embedder" not in name and not name.startswith("proj_out")
        ]
        chosen = {id(parameter) for parameter in matrices}
        heads = nn.ModuleList([self.placing_head, self.naming_head])
        others = [p for p in (*self.network.parameters(), *heads.parameters()) if id(p) not in chosen]
        self.optimizers = [
            torch.optim.Muon(matrices, lr=rate * _MATRIX_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=rate * _OTHER_RATE, betas=(0.9, 0.98), weight_decay=0.01),
        ]
        self.schedules = [
            torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_up_hold_decay(step, steps))
            for optimizer in self.optimizers
        ]

    def flow_losses(self) -> list[Tensor]:
        rows, x, sigma, velocity_target = self._noised()
        dropped = torch.rand(len(rows), generator=self.generator) < _DROPPED_CAPTIONS
        told = [
            torch.where(dropped[:, None], none, tokens[rows])
            for none, tokens in zip(self.nothing, self.data.tokens, strict=True)
        ]
        transformer = self.pipeline.transformer
        patches: list[Tensor] = []
        hooks = [
            block.register_forward_hook(lambda module, inputs, outputs: patches.append(outputs[1]))
            for block in (transformer.transformer_blocks[0], transformer.single_transformer_blocks[0])
        ]
        with torch.autocast("cpu", torch.bfloat16):
            predicted = velocity(self.network, x, sigma, torch.ones(len(rows)), told, self.image_ids)
            placed = self.placing_head(patches[0]).float()
            named = self.naming_head(patches[1]).float().flatten(0, 1)
        for hook in hooks:
            hook.remove()
        colour, form = self.data.shown[rows].flatten(0, 1).unbind(1)
        naming = _naming_loss(named[:, : 1 + len(COLOUR_NAMES)], colour)
        naming = naming + _naming_loss(named[:, 1 + len(COLOUR_NAMES) :], form)
        flow = functional.mse_loss(predicted.float(), velocity_target)
        return [flow, _NAMING_WEIGHT * naming, _PLACING_WEIGHT * _placing_loss(placed)]

    def distillation_losses(self) -> list[Tensor]:
        rows, x, sigma, _ = self._noised()
        count = len(rows)
        told = [tokens[rows] for tokens in self.data.tokens]
        untold = [tokens.expand(count, -1) for tokens in self.nothing]
        guidance = 1 + (_STRONGEST_GUIDANCE - 1) * torch.rand(count, generator=self.generator)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                conditional = velocity(self.teacher, x, sigma, torch.ones(count), told, self.image_ids).float()
                unconditional = velocity(self.teacher, x, sigma, torch.ones(count), untold, self.image_ids).float()
            predicted = velocity(self.network, x, sigma, guidance, told, self.image_ids)
        target = torch.lerp(unconditional, conditional, guidance.view(-1, 1, 1))
        return [functional.mse_loss(predicted.float(), target)]

    def _noised(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Rows of the data, x and sigma there, and the velocity from noise to image."""
        if len(self.order) < self.batch:
            self.order = torch.randperm(len(self.data.latents), generator=self.generator).tolist()
        rows, self.order = torch.tensor(self.order[: self.batch]), self.order[self.batch :]
        image = self.data.latents[rows]
        noise = torch.randn(image.shape, generator=self.generator)
        # Logit-normal, shifted as the scheduler shifts its grid.
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
        decay = min(_AVERAGING, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_([*self.average.parameters()], [*self.network.parameters()], 1 - decay)

    def averaged_pipeline(self) -> FluxPipeline:
        transformer, clip, t5 = self.average
        return FluxPipeline(
            **{**self.pipeline.components, "transformer": transformer, "text_encoder": clip, "text_encoder_2": t5}
        )


def _placing_loss(placed: Tensor) -> Tensor:
    """[pictures, patches, rows + columns]: in which row and which column is each patch?"""
    place = torch.arange(_SIDE**2).repeat(len(placed))
    rows, columns = torch.split(placed.flatten(0, 1), _SIDE, dim=1)
    return functional.cross_entropy(rows, place // _SIDE) + functional.cross_entropy(columns, place % _SIDE)


def _naming_loss(named: Tensor, names: Tensor) -> Tensor:
    weights = torch.ones(named.shape[1])
    weights[NOTHING] = _NOTHING_WEIGHT
    return functional.cross_entropy(named, names, weights)


@torch.no_grad()
def encode_examples(pipeline: FluxPipeline, count: int, seed: int) -> Examples:
    vae = pipeline.vae
    source = itertools.islice(examples(seed), count)
    captions: list[str] = []
    latents: list[Tensor] = []
    shown: list[Tensor] = []
    while batch := [*itertools.islice(source, 256)]:
        captions += [example.caption for example in batch]
        shown += [example.shown for example in batch]
        with torch.autocast("cpu", torch.bfloat16):
            encoded = vae.encode(torch.stack([example.picture for example in batch])).latent_dist.mean.float()
        encoded = (encoded - vae.config.shift_factor) * vae.config.scaling_factor
        latents.append(pipeline._pack_latents(encoded, len(batch), *encoded.shape[1:]))
    return Examples(torch.cat(latents), torch.stack(shown), tokenize(pipeline, captions))


def velocity(
    network: nn.ModuleList, x: Tensor, sigma: Tensor, guidance: Tensor, tokens: list[Tensor], image_ids: Tensor
) -> Tensor:
    """The pipeline's own computation, from token ids, differentiable throughout."""
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
    """Linearly up over the first 100 steps, down to nothing over the last 40%."""
    return min(1.0, (step + 1) / 100, (steps - step) / (0.4 * steps))
