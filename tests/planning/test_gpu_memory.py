"""The sums of a plan, on the tiny model."""

import json
from collections.abc import Sequence

import pytest
from typer.testing import CliRunner

from mixgrpo.cli.main import app
from mixgrpo.planning.fit import Gpus, fitted, placed
from mixgrpo.planning.memory import Layout, memory_of
from mixgrpo.planning.seconds import work_of
from mixgrpo.planning.tracing import Traced, trace
from mixgrpo.recipe.load import load_recipe
from mixgrpo.recipe.schema import Recipe

MIB = 2**20


@pytest.fixture(scope="module")
def traced() -> Traced:
    return trace(load_recipe("scenes"))


def test_shards_divide_what_is_trained_and_add_gathered_blocks(traced: Traced) -> None:
    recipe = load_recipe("scenes", ["objective.kl_weight=0.1", "update.ema_decay=0.9"])
    alone = memory_of(traced, recipe, Layout(4, 4, "none"))
    shared = memory_of(traced, recipe, Layout(4, 4, "full"))
    for name in ("trained weights", "optimizer", "average", "KL reference"):
        assert alone.held[name] == 4 * shared.held[name] > 0
    assert alone.held["optimizer"] == 2 * 4 * traced.trained
    assert shared.stages["update"]["gathered blocks"] > alone.stages["update"]["gathered blocks"] == 0
    hybrid = memory_of(traced, recipe, Layout(4, 2, "hybrid"))
    assert hybrid.held["optimizer"] == alone.held["optimizer"] / 2


def test_what_is_sent(traced: Traced) -> None:
    """Without sharding each optimizer step sums all gradients, 2 (n - 1) / n of their size; with it every call gathers
    all weights, (n - 1) / n of theirs.
    """
    recipe = load_recipe("scenes")
    assert work_of(traced, recipe, Layout(1, 1, "none"))["update"].sent == 0
    unsharded = work_of(traced, recipe, Layout(4, 4, "none"))
    assert unsharded["rollout"].sent == 0
    assert unsharded["update"].sent == recipe.update.minibatches * 2 * 3 / 4 * 4 * traced.trained
    sharded = work_of(traced, recipe, Layout(4, 4, "full"))
    blocks = traced.parameters - traced.outside_blocks
    calls = (sharded["rollout"].sent / (3 / 4 * 4) - traced.outside_blocks) / blocks
    assert calls == round(calls) > 0
    half = load_recipe("scenes", ["rollout.micro_batch=1"])
    assert work_of(traced, half, Layout(4, 4, "full"))["rollout"].sent > sharded["rollout"].sent


@pytest.mark.long
def test_the_smallest_changes_are_found() -> None:
    def changed(changes: Sequence[str]) -> Recipe:
        return load_recipe("scenes", ["rollout.micro_batch=8", *changes])

    recipe = load_recipe("scenes", ["rollout.micro_batch=8"])
    whole = placed(recipe, Gpus(1, 1e12), trace(recipe))
    peak = max(whole.memory.sums.values())
    roomy = fitted(changed, Gpus(1, 1.2 * peak))
    assert roomy is not None
    assert roomy.changes == ()
    tight = fitted(changed, Gpus(1, peak))
    assert tight is not None
    assert tight.changes == ("rollout.micro_batch=4",)
    assert max(tight.memory.sums.values()) <= 0.92 * peak
    assert fitted(changed, Gpus(1, 1e6)) is None
    assert "no change is needed" in CliRunner().invoke(app, ["plan", "scenes", "--gpus", "1", "--fit"]).stdout


def test_the_command_shows_it() -> None:
    run = CliRunner().invoke(app, ["plan", "scenes", "--gpus", "2", "--gpu-memory", "24GB", "--json"])
    assert run.exit_code == 0, run.output
    shown = json.loads(run.stdout)["per_gpu"]
    assert shown["fits"]
    assert shown["gpu_memory_bytes"] == 24e9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fit"], "--fit: needs --gpus"),
        (["--gpus", "2", "--gpu-memory", "much"], "--gpu-memory much: must be a size such as 80GiB"),
        (["--gpus", "4", "rollout.prompts=2"], "rollout.prompts = 2: must be at least 4, the number of GPUs"),
    ],
)
def test_mistakes_are_explained(options: list[str], words: str) -> None:
    run = CliRunner().invoke(app, ["plan", "scenes", *options])
    assert run.exit_code == 2
    assert words in run.stderr
