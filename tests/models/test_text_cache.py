import os
from pathlib import Path

import pytest
import torch

import pipelines
from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.base import FlowModel
from mixgrpo.models.load import adapt
from mixgrpo.models.text_cache import TextCache, encoder_of
from mixgrpo.recipe.sections import SpeedConfig
from mixgrpo.sampling.field import Conditioning, joined
from runs import small_trainer

PROMPTS = prompts_of(["a red circle", "two blue squares above a green ring", "CAT"])
MIB = 2**20


@torch.no_grad()
def velocity(model: FlowModel, conditioning: Conditioning) -> torch.Tensor:
    noise = torch.randn(len(conditioning), *model.latent_shape, generator=torch.Generator().manual_seed(0))
    return model.velocity(noise, torch.full((len(conditioning),), 0.5), conditioning)


def test_cached_texts_draw_the_same(model: FlowModel, tmp_path: Path) -> None:
    """For each model, whose texts may differ in length; written, and read again."""
    expected = velocity(model, model.encode(PROMPTS))
    for _ in range(2):
        conditioning = TextCache(model, tmp_path, MIB).encode(PROMPTS)
        torch.testing.assert_close(velocity(model, conditioning), expected, atol=1e-5, rtol=1e-4)
    assert len([*tmp_path.iterdir()]) == len(PROMPTS)


def test_a_prompt_is_encoded_once(flux: FlowModel, tmp_path: Path) -> None:
    calls: list[int] = []
    handle = flux.pipeline.text_encoder_2.register_forward_hook(lambda *_: calls.append(1))
    try:
        TextCache(flux, tmp_path, MIB).encode([*PROMPTS, *PROMPTS])
        again = TextCache(flux, tmp_path, MIB)
        assert len(calls) == len(PROMPTS)
        again.encode(PROMPTS)
        again.encode(PROMPTS[::-1])
    finally:
        handle.remove()
    assert len(calls) == len(PROMPTS) + 1  # what all prompts share


def test_other_encoders_have_other_files(tmp_path: Path) -> None:
    for change in (0.0, 0.1):
        model = adapt(pipelines.flux(), height=32, width=24, guidance_scale=3.5, max_sequence_length=48)
        with torch.no_grad():
            next(model.pipeline.text_encoder_2.parameters()).add_(change)
        TextCache(model, tmp_path, MIB).encode(PROMPTS[:1])
    assert len([*tmp_path.iterdir()]) == 2


def test_the_folder_is_bounded_and_evicts_the_oldest(flux: FlowModel, tmp_path: Path) -> None:
    cache = TextCache(flux, tmp_path, MIB)
    cache.encode(PROMPTS[:1])
    (first,) = tmp_path.iterdir()
    size = first.stat().st_size
    small = TextCache(flux, tmp_path, int(3.5 * size))
    os.utime(first, (1, 1))
    small.encode(prompts_of(f"a {number}" for number in range(9)))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3.5 * size
    assert not first.exists()


def test_a_file_that_was_read_is_kept_longer(flux: FlowModel, tmp_path: Path) -> None:
    cache = TextCache(flux, tmp_path, MIB)
    cache.encode(PROMPTS[:1])
    (first,) = tmp_path.iterdir()
    cache.encode(PROMPTS[1:2])
    (second,) = {*tmp_path.iterdir()} - {first}
    os.utime(first, (1, 1))
    os.utime(second, (2, 2))
    cache.encode(PROMPTS[:1])  # a hit
    TextCache(flux, tmp_path, int(2.5 * first.stat().st_size)).encode(PROMPTS[2:3])
    assert first.exists()
    assert not second.exists()


def test_shorter_texts_are_padded_and_masked() -> None:
    both = joined([Conditioning({"embeds": torch.ones(1, length, 2)}, {}) for length in (2, 3)]).per_prompt
    assert both["embeds"].tolist() == [[[1, 1], [1, 1], [0, 0]], [[1, 1]] * 3]
    assert both["mask"].tolist() == [[1, 1, 0], [1, 1, 1]]


def test_training_with_cached_texts_is_the_same(tmp_path: Path) -> None:
    expected = small_trainer().iterate()
    for _ in range(2):
        got = small_trainer(speed={"text_cache": str(tmp_path / "texts")}).iterate()
        assert got["rewards"] == pytest.approx(expected["rewards"], abs=1e-4)
    assert any((tmp_path / "texts").iterdir())


def test_encoding_in_batches_changes_nothing(model: FlowModel) -> None:
    expected = velocity(model, model.encode(PROMPTS))
    batched = encoder_of(model, SpeedConfig(), batch=2)(PROMPTS)
    torch.testing.assert_close(velocity(model, batched), expected, atol=1e-5, rtol=1e-4)


def test_only_sequences_are_padded() -> None:
    rows = [{"embeds": torch.ones(1, length, 2), "pooled": torch.ones(1, 8)} for length in (2, 3)]
    both = joined([Conditioning(row, {}) for row in rows]).per_prompt
    assert both["pooled"].shape == (2, 8)
    assert both["embeds"].shape == (2, 3, 2)
