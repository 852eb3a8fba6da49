import torch
from torch import Tensor

from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.base import FlowModel
from mixgrpo.models.text_cache import encoder_of
from mixgrpo.recipe.sections import SpeedConfig
from mixgrpo.sampling.field import Conditioning
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.plan import ode_plan
from mixgrpo.training.generation import generate, images_of

PROMPTS = prompts_of([f"{n} red circles" for n in range(7)])


def draw(model: FlowModel, micro_batch: int) -> tuple[list[range], Tensor]:
    noise = KeyedNoise(0, 0, model.latent_shape)
    encode = encoder_of(model, SpeedConfig(), micro_batch)
    drawn = [*images_of(model, encode, PROMPTS, noise, steps=3, micro_batch=micro_batch)]
    return [numbers for numbers, _ in drawn], torch.cat([pixels for _, pixels in drawn])


def test_images_come_in_order_a_micro_batch_at_a_time(flux: FlowModel) -> None:
    numbers, images = draw(flux, 3)
    assert numbers == [range(3), range(3, 6), range(6, 7)]
    assert images.shape == (7, 1, 3, 32, 24)


def test_the_micro_batch_does_not_change_the_images(model: FlowModel) -> None:
    torch.testing.assert_close(draw(model, 3)[1], draw(model, 7)[1], atol=1e-4, rtol=0)


def test_no_more_than_a_micro_batch_is_encoded_drawn_or_decoded_at_once(flux: FlowModel) -> None:
    """However many prompts there are: 5,000 take no more memory than these."""
    rows: dict[str, list[int]] = {"encoder": [], "transformer": [], "vae": []}
    pipeline = flux.pipeline
    hooks = [
        pipeline.text_encoder_2.register_forward_hook(lambda m, args, out: rows["encoder"].append(len(args[0]))),
        pipeline.transformer.register_forward_hook(
            lambda m, args, kwargs, out: rows["transformer"].append(len(kwargs["hidden_states"])), with_kwargs=True
        ),
        pipeline.vae.decoder.register_forward_hook(lambda m, args, out: rows["vae"].append(len(args[0]))),
    ]
    try:
        draw(flux, 3)
    finally:
        for hook in hooks:
            hook.remove()
    assert rows["encoder"] == rows["vae"] == [3, 3, 1]
    assert rows["transformer"] == [3] * 6 + [1] * 3


class Still:
    """A velocity of 0: what is drawn is the noise."""

    def velocity(self, x: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        return torch.zeros_like(x)


def test_another_velocity_field_is_followed_if_given(flux: FlowModel) -> None:
    noise = KeyedNoise(0, 0, flux.latent_shape)
    ((_, image),) = images_of(
        flux, encoder_of(flux, SpeedConfig(), 1), PROMPTS[:1], noise, steps=3, micro_batch=1, field=Still()
    )
    torch.testing.assert_close(image, flux.decode(noise.initial(0, 0)[None]))


def test_the_first_images_are_decoded_before_the_last_are_drawn(flux: FlowModel) -> None:
    """Also in one rollout of independent trajectories, so that they can be scored meanwhile."""
    events: list[str] = []
    hooks = [
        flux.pipeline.transformer.register_forward_hook(lambda *_: events.append("draw")),
        flux.pipeline.vae.decoder.register_forward_hook(lambda *_: events.append("decode")),
    ]
    try:
        generate(
            flux,
            encoder_of(flux, SpeedConfig(), 4),
            PROMPTS[:4],
            ode_plan(flux.grid(2)),
            KeyedNoise(0, 0, flux.latent_shape),
            group_size=1,
            micro_batch=2,
            on_images=lambda numbers, pixels: None,
            shared_noise=False,
        )
    finally:
        for hook in hooks:
            hook.remove()
    assert events == ["draw", "draw", "decode"] * 2
