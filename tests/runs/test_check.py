"""`mixgrpo check`, on every kind of model, and on an adapter with a mistake in it."""

from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor
from typer.testing import CliRunner

import pipelines
from mixgrpo.cli.main import app
from mixgrpo.models import load
from mixgrpo.models.base import PipelineModel
from mixgrpo.models.flux import FLUX
from mixgrpo.models.load import adapted
from mixgrpo.recipe.sections import ModelConfig
from mixgrpo.runs.check import check_loaded
from mixgrpo.sampling.field import Conditioning

FINDINGS = [
    "the sampler draws what the stock pipeline draws",
    "rollout and update agree",
    "an update changes the model",
    "exported adapters load into the stock pipeline",
]


def checked(make: pipelines.Make, folder: Path) -> tuple[int, str]:
    make().save_pretrained(folder)
    result = CliRunner().invoke(app, ["check", str(folder), "--height", "32", "--width", "24"])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    "make", [pipelines.flux, pipelines.sd3, pipelines.qwen_image, pipelines.flux2_klein, pipelines.z_image]
)
def test_a_supported_model_passes(make: pipelines.Make, tmp_path: Path) -> None:
    status, said = checked(make, tmp_path)
    assert status == 0, said
    assert "NO" not in said
    for finding in FINDINGS:
        assert f"ok  {finding}" in said


def test_qwen_image_21_passes() -> None:
    """Not from a folder: its stock processor needs torchvision."""
    settings = ModelConfig(path="qwen-image-2.1", dtype="float32", height=64, width=32, guidance_scale=4.0)
    found = [*check_loaded(settings, lambda: adapted(pipelines.qwen_image_21(), settings))]
    assert [finding.what for finding in found if not finding.ok] == []
    assert {*FINDINGS} <= {finding.what for finding in found}


def _backwards(model: PipelineModel, x: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
    return FLUX.velocity(model, x, 1 - sigma, conditioning)


def test_a_mistake_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise where the stock pipeline has images."""
    monkeypatch.setitem(load.ADAPTERS, "FluxPipeline", replace(FLUX, velocity=_backwards))
    status, said = checked(pipelines.flux, tmp_path)
    assert status == 1
    assert f"NO  {FINDINGS[0]}" in said
