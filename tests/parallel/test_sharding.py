"""Sharded training is training: the same weights, rewards, metrics and window as without, whoever holds what."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor
from under_torchrun import torchrun

from mixgrpo.parallel import distributed, sharding

# Five prompts do not divide by 2 or 4; one group is skipped and some scores are missing (see the script).
_SECTIONS: dict[str, Any] = {
    "rollout": {"prompts": 5, "group_size": 4, "micro_batch": 5},
    "update": {"learning_rate": 1e-3, "minibatches": 2, "ema_decay": 0.9},
    "scoring": {"max_failed_fraction": 1.0},
}
_LORA = {"tune": "lora", "lora": {"rank": 4, "alpha": 8}}
_KL = {"objective": {"clip_range": 1e-2, "kl_weight": 0.01}}

Train = Callable[..., tuple[dict[str, Tensor], list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """State and metrics after three iterations by so many machines with so many processes each."""
    done: dict[str, Path] = {}

    def run(
        shard: str,
        machines: int,
        processes: int,
        offload: bool = False,
        missing_above: float = 0.475,
        **sections: Any,
    ) -> tuple[dict[str, Tensor], list[Any]]:
        settings = json.dumps({**_SECTIONS, **sections, "parallel": {"shard": shard, "offload": offload}})
        key = f"{machines} {processes} {missing_above} {settings}"
        if key not in done:
            done[key] = tmp_path_factory.mktemp("state") / "state.safetensors"
            arguments = (settings, str(done[key]), str(missing_above))
            torchrun("train_together.py", *arguments, processes=processes, machines=machines)
        said = json.loads(done[key].with_suffix(".json").read_text())
        sharded = shard != "none" and (machines * processes > 1 or offload)
        assert said["sharded"] == [sharded] * machines * processes
        return load_file(done[key]), said["metrics"]

    return run


def assert_same(
    got: tuple[dict[str, Tensor], list[Any]],
    expected: tuple[dict[str, Tensor], list[Any]],
    apart: float,
    rel: float = 1e-3,
) -> None:
    """`apart`: how far, of the way that the weights went; `rel`: of the first gradient's norm. AdamW makes steps of its
    own of the rounding of a gradient near zero.
    """
    (state, metrics), (same_state, same_metrics) = got, expected
    assert state.keys() == same_state.keys()
    weights = [name.removeprefix("weight/") for name in state if name.startswith("weight/")]
    for kind in ("weight", "average"):
        way = _distance(same_state, "start", same_state, kind, weights)
        assert _distance(state, kind, same_state, kind, weights) < apart * way
    assert metrics[0]["grad_norm"] == pytest.approx(same_metrics[0]["grad_norm"], rel=rel)
    for one, other in zip(metrics, same_metrics, strict=True):
        for exact in ("window", "skipped_groups", "failed_scores", "retried_scores", "update_rows", "learning_rate"):
            assert one[exact] == other[exact]
        assert one["rewards"]["brightness"] == pytest.approx(other["rewards"]["brightness"], abs=1e-3)


def _distance(one: dict[str, Tensor], kind: str, other: dict[str, Tensor], as_kind: str, names: list[str]) -> float:
    return math.sqrt(sum((one[f"{kind}/{n}"] - other[f"{as_kind}/{n}"]).square().sum().item() for n in names))


def test_what_is_trained_here_is_uneven(train: Train) -> None:
    _, metrics = train("none", 1, 2)
    assert all(line["skipped_groups"] >= 1 for line in metrics)
    assert any(line["failed_scores"]["brightness"] for line in metrics)


def test_two_processes_with_shares_train_as_two_without(train: Train) -> None:
    assert_same(train("full", 1, 2), train("none", 1, 2), apart=1e-3)


def test_two_processes_train_as_one_does(train: Train) -> None:
    """Their micro-batches differ, and with them the rounding, from the first rollout on."""
    assert_same(train("none", 1, 2), train("none", 1, 1), apart=1e-2)


@pytest.mark.long
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("sections", [{}, _LORA], ids=["full", "lora"])
def test_offloaded_shares_train_as_others(train: Train, processes: int, sections: dict[str, Any]) -> None:
    offloaded = train("full", 1, processes, offload=True, **sections)
    assert_same(offloaded, train("none", 1, processes, **sections), apart=1e-3)


@pytest.mark.long
@pytest.mark.parametrize(("machines", "processes", "shard"), [(1, 4, "full"), (2, 2, "hybrid"), (2, 2, "full")])
@pytest.mark.parametrize("sections", [{}, _LORA], ids=["full", "lora"])
def test_four_processes_with_shares_train_as_four_without(
    train: Train, machines: int, processes: int, shard: str, sections: dict[str, Any]
) -> None:
    assert_same(train(shard, machines, processes, **sections), train("none", 1, 4, **sections), apart=1e-3)


@pytest.mark.long
@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("sections", [{}, _LORA], ids=["full", "lora"])
def test_any_number_of_processes_trains_as_one_does(train: Train, processes: int, sections: dict[str, Any]) -> None:
    """Their micro-batches differ, and with them the rounding, from the first rollout on."""
    assert_same(train("full", 1, processes, **sections), train("none", 1, 1, **sections), apart=1e-2)


@pytest.mark.long
@pytest.mark.parametrize(
    "sections",
    [
        _KL,
        {**_KL, **_LORA},
        {"update": {**_SECTIONS["update"], "gradient_checkpointing": True}},
        {"objective": {"type": "image-credit"}},
    ],
    ids=["kl", "kl to adapters off", "gradient checkpointing", "image credit"],
)
def test_what_composes_with_shares(train: Train, sections: dict[str, Any]) -> None:
    assert_same(train("full", 1, 2, **sections), train("none", 1, 2, **sections), apart=1e-3)


@pytest.mark.long
def test_shares_round_more_in_bfloat16(train: Train) -> None:
    """Gathered in bfloat16, norms and biases are rounded too, which autocast leaves in float32. No score is missing
    here: which images are too bright would depend on that rounding.
    """
    settings: dict[str, Any] = {
        "model": {"path": "given", "dtype": "bfloat16", "height": 32, "width": 24},
        "missing_above": math.inf,
    }
    assert_same(train("full", 1, 2, **settings), train("none", 1, 2, **settings), apart=0.25, rel=0.05)


@pytest.mark.parametrize(
    ("wanted", "offload", "held", "processes", "per_machine", "chosen"),
    [
        ("auto", False, 90, 1, 1, "none"),
        ("full", False, 90, 1, 1, "none"),  # nobody to share with
        ("full", True, 90, 1, 1, "full"),
        ("auto", False, 49, 8, 8, "none"),
        ("auto", True, 49, 8, 8, "full"),
        ("auto", False, 51, 8, 8, "full"),
        ("auto", False, 51, 16, 8, "hybrid"),
        ("none", False, 99, 16, 8, "none"),
        ("full", False, 1, 16, 8, "full"),
    ],
)
def test_shares_are_chosen_where_a_network_is_large(
    wanted: Any,
    offload: bool,
    held: int,
    processes: int,
    per_machine: int,
    chosen: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: processes)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(per_machine))
    assert sharding.choose(wanted, offload, held, available=100) == chosen


def test_every_rank_draws_as_many_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 4)
    shares = []
    for rank in range(4):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(distributed.padded(distributed.local_range(6), 6))
    assert {len(share) for share in shares} == {2}
    assert sorted({number for share in shares for number in share}) == [*range(6)]
