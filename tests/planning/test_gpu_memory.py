"""The sums of a plan, on the tiny model."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from mixgrpo.bench.training import new_trainer
from mixgrpo.cli.main import app
from mixgrpo.models.load import load_model
from mixgrpo.planning.fit import Gpus, fitted, placed
from mixgrpo.planning.memory import Layout, learned_per_gpu, memory_of
from mixgrpo.planning.seconds import Rates, work_of
from mixgrpo.planning.tracing import Traced, trace
from mixgrpo.recipe.load import load_recipe
from mixgrpo.recipe.schema import Recipe
from mixgrpo.rewards.registry import find_rewards
from mixgrpo.runs.memory import held

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


@pytest.mark.parametrize(
    "changes",
    [[], ["tune=lora", "objective.kl_weight=0.1"], ["objective.kl_weight=0.1", "update.ema_decay=null"]],
    ids=" ".join,
)
def test_the_plan_and_the_preflight_count_the_same(changes: list[str]) -> None:
    """The preflight what a trainer really holds; on a CPU that is the text encoders, too."""
    recipe = load_recipe("scenes", ["tune_only=[]", "speed.keep_text_encoders=true", *changes])
    trainer = new_trainer(recipe, load_model(recipe.model), find_rewards(recipe.rewards))
    counted = held(trainer)
    planned = memory_of(trace(recipe), recipe, Layout(1, 1, "none"))
    update = planned.stages["update"]
    of_networks = sum(planned.held[name] for name in ("trained weights", "frozen weights", "buffers"))
    assert of_networks + planned.held["VAE"] + planned.held["text encoders"] == pytest.approx(counted["pipeline"], 1e-3)
    for name in ("optimizer", "average", "KL reference"):
        assert planned.held[name] == pytest.approx(counted[name], 1e-3)
    assert (update["gradients"], update["kept states"]) == (counted["gradients"], counted["kept states"])


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


def test_cut_groups_run_the_state_at_their_fork_in_each_mini_batch(traced: Traced) -> None:
    """The window of `scenes` is the step at the fork: a mini-batch of whole groups runs the network once a group."""
    layout, per_state = Layout(4, 4, "full"), traced.learn.flops
    whole, cut = (
        work_of(traced, load_recipe("scenes", ["update.minibatches=3", f"update.split_groups={split}"]), layout)
        for split in (False, True)
    )
    assert whole["update"].flops == pytest.approx(24 / 4 * per_state)
    assert cut["update"].flops == pytest.approx(3 * whole["update"].flops)


def test_windows_of_each_prompt_cost_what_they_cost_on_average(traced: Traced) -> None:
    """`scenes` draws two or three steps after its window, wherever that is; the steps before it are in common."""
    forks = ["window.strategy=stratified", "window.size=1", "window.range=[2,6]"]
    mixed, *each = (
        work_of(traced, load_recipe("scenes", changes), Layout(1, 1, "none"))["rollout"].flops
        for changes in [forks, *(["window.strategy=frozen", f"window.range=[{n},{n + 1}]"] for n in range(2, 6))]
    )
    assert min(each) < mixed < max(each)
    assert mixed == pytest.approx(sum(each) / 4)


def test_what_leaves_a_machine(traced: Traced) -> None:
    """All that is sent, once, where one ring goes through all machines; the sum of gradients, of each of a machine's
    GPUs, where networks are shared within machines. Nothing on one machine.
    """
    recipe = load_recipe("scenes", ["update.minibatches=2"])
    together = work_of(traced, recipe, Layout(4, 2, "full"))
    assert [part.leaves for part in together.values()] == [part.sent for part in together.values()]
    shared = work_of(traced, recipe, Layout(4, 2, "hybrid"))
    assert shared["rollout"].leaves == 0 < shared["rollout"].sent
    gradients_of_a_gpu = 4 * traced.trained / 2
    assert shared["update"].leaves == 2 * 2 * (2 * gradients_of_a_gpu / 2)  # GPUs, steps, a ring of two machines
    rates = Rates(flops=1e30, link=together["rollout"].sent, network=together["rollout"].leaves / 3, bus=1e30)
    assert together["rollout"].seconds(rates) == 3
    assert not any(part.leaves for part in work_of(traced, recipe, Layout(4, 4, "full")).values())


def test_blocks_are_fetched_ahead_from_other_gpus_only(traced: Traced) -> None:
    """Of a process alone torch copies a block when it is run."""
    recipe = load_recipe("scenes", ["parallel.offload=true"])
    alone, shared = (
        memory_of(traced, recipe, Layout(gpus, gpus, "full")).stages["rollout"]["gathered blocks"] for gpus in (1, 2)
    )
    assert shared - alone == 4 * traced.largest_block  # float32


def test_offloaded_shares_are_copied_for_each_call_and_take_time(traced: Traced) -> None:
    recipe = load_recipe("scenes", ["parallel.offload=true"])
    held = memory_of(traced, recipe, Layout(1, 1, "full")).held
    assert held["trained weights"] == held["frozen weights"] == held["optimizer"] == 0
    rollout = work_of(traced, recipe, Layout(1, 1, "full"))["rollout"]
    share = traced.frozen_bytes + 4 * traced.trained
    assert rollout.copied % share == 0 < rollout.copied
    rates = Rates(flops=rollout.flops, link=1e30, network=1e30, bus=rollout.copied / 2)
    assert rollout.seconds(rates) == 1 + 2
    assert replace(rollout, overlaps=True).seconds(rates) == 2
    assert work_of(traced, load_recipe("scenes"), Layout(1, 1, "none"))["rollout"].copied == 0


def test_every_gpu_has_the_buffers(traced: Traced) -> None:
    with_buffers = replace(traced, buffers=1000)
    for layout in (Layout(1, 1, "none"), Layout(4, 4, "full")):
        assert memory_of(with_buffers, load_recipe("scenes"), layout).held["buffers"] == 1000


@pytest.mark.parametrize(
    ("prompts", "gpus", "changes", "images"),
    [
        (8, 2, [], 4),
        (8, 2, ["update.minibatches=2"], 2),
        (8, 8, ["update.minibatches=4"], 1),  # in those that it has images in at all
        (8, 8, ["update.minibatches=4", "update.split_groups=true"], 1 / 4),
        (2, 1, ["update.minibatches=4"], 1 / 2),  # cut, for there are fewer groups than mini-batches
    ],
)
def test_images_that_a_gpu_learns_from_at_a_time(prompts: int, gpus: int, changes: list[str], images: float) -> None:
    recipe = load_recipe("scenes", [f"rollout.prompts={prompts}", "rollout.group_size=12", *changes])
    assert learned_per_gpu(recipe, gpus) == images * 12


@pytest.mark.long
def test_autocast_keeps_copies_of_the_weights_that_are_trained() -> None:
    changes = ["model.dtype=bfloat16", "tune_only=[]"]
    full, adapters = (trace(load_recipe("scenes", [*changes, f"tune={tune}"])) for tune in ("full", "lora"))
    copies = 2 * full.trained
    assert 0.7 * copies < full.forward.fixed - adapters.forward.fixed < copies  # not of norms


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


@pytest.mark.long
def test_the_base_is_quantized_where_adapters_alone_are_not_enough() -> None:
    def changed(changes: Sequence[str]) -> Recipe:
        return load_recipe("scenes", ["tune_only=[]", "tune=lora", "rollout.micro_batch=1", *changes])

    checkpointing = "update.gradient_checkpointing=true"
    peaks = [
        max(placed(recipe, Gpus(1, 1e12), trace(recipe)).memory.sums.values())
        for recipe in (changed([checkpointing]), changed([checkpointing, "model.quantize=int8"]))
    ]
    assert peaks[1] < peaks[0]
    result = fitted(changed, Gpus(1, sum(peaks) / 2 / 0.92))
    assert result is not None
    assert "model.quantize=int8" in result.changes
    assert "parallel.offload=true" not in result.changes


def test_the_command_shows_it() -> None:
    rates = ["--tflops", "100", "--link-gbps", "80", "--network-gbps", "40", "--bus-gbps", "20"]
    run = CliRunner().invoke(app, ["plan", "scenes", "--gpus", "2", "--gpu-memory", "24GB", *rates, "--json"])
    assert run.exit_code == 0, run.output
    shown = json.loads(run.stdout)["per_gpu"]
    assert shown["fits"]
    assert shown["gpu_memory_bytes"] == 24e9
    assert [shown[name] for name in ("tflops", "link_gbps", "network_gbps", "bus_gbps")] == [100, 80, 40, 20]
    update = shown["work"]["update"]
    assert update["seconds"] == pytest.approx(update["flops"] / 100e12 + update["sent_bytes"] / 10e9)


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
