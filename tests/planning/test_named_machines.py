"""The published recipes fit the machines that their variants are named after, with the published batch."""

import pytest

from mixgrpo.planning.fit import Gpus, placed
from mixgrpo.planning.tracing import trace
from mixgrpo.recipe.load import load_recipe

GIB = 2**30


@pytest.mark.long
@pytest.mark.parametrize(
    ("published", "variant", "machines"),
    [
        ("flux-dev-hpdv2", "flux-dev-hpdv2-80gb", [Gpus(8, 80 * GIB), Gpus(32, 80 * GIB)]),
        ("flux-dev-hpdv2", "flux-dev-hpdv2-1x80gb", [Gpus(1, 80 * GIB)]),
        ("flux-dev-hpdv2", "flux-dev-hpdv2-1x24gb", [Gpus(1, 24e9)]),
        ("qwen-image-ocr-lora", "qwen-image-ocr-lora-1x24gb", [Gpus(1, 24e9)]),
        ("sd35-medium-geneval", "sd35-medium-geneval-1x24gb", [Gpus(1, 24e9)]),
        ("flux2-klein-base-lora", "flux2-klein-base-lora", [Gpus(n, 80 * GIB) for n in (1, 8)]),
        ("flux2-klein-base-lora", "flux2-klein-base-lora-1x16gb", [Gpus(1, 16e9)]),
        ("z-image-lora", "z-image-lora", [Gpus(8, 80 * GIB)]),
        ("z-image-lora", "z-image-lora-1x24gb", [Gpus(1, 24e9)]),
        ("sd35-medium-geneval", "sd35-medium-geneval", [Gpus(n, 80 * GIB) for n in (1, 8, 32)]),
        ("qwen-image-ocr-lora", "qwen-image-ocr-lora-1x80gb", [Gpus(n, 80 * GIB) for n in (1, 8, 32)]),
    ],
)
def test_a_variant_fits_with_the_published_batch(published: str, variant: str, machines: list[Gpus]) -> None:
    theirs, recipe = load_recipe(published), load_recipe(variant)
    traced = trace(recipe)
    for gpus in machines:
        fitted = placed(recipe, gpus, traced)
        assert fitted.fits, f"{gpus.count} GPUs: {max(fitted.memory.sums.values()) / GIB:.1f} GiB"
    assert recipe.rollout.prompts == theirs.rollout.prompts
    assert recipe.rollout.group_size == theirs.rollout.group_size
    assert recipe.update.minibatches == theirs.update.minibatches
