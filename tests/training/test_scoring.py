import math
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mixgrpo.data.prompts import Prompt
from mixgrpo.recipe.sections import ScoringConfig
from mixgrpo.rewards.clients.endpoints import RequestRefused
from mixgrpo.rewards.entry import RewardConfig
from mixgrpo.rewards.functions.user_function import load_function
from mixgrpo.rewards.networks.weights import MissingWeights
from mixgrpo.rewards.registry import find_reward
from mixgrpo.training.scoring import RewardError, Scored, Scorer, merged, stop_if_too_many_failed

PROMPTS = [Prompt("a", {"text": "A"}), Prompt("b", {}), Prompt("c", {"text": "C", "n": 3})]
IMAGES = torch.zeros(3, 1, 3, 4, 4)


def score(reward: Callable[..., Any], **settings: Any) -> Scored:
    scorer = Scorer({"mine": reward}, ScoringConfig(**settings))
    scorer.submit(IMAGES, PROMPTS)
    return scorer.collect()


def test_scores_come_in_the_order_of_submission_with_each_rows_metadata() -> None:
    def reward(images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
        assert metadata == {"text": ["A", None, "C"], "n": [None, None, 3]}
        return [float(ord(prompt)) for prompt in prompts]

    assert score(reward).values["mine"].tolist() == [97, 98, 99]


def test_only_images_without_a_score_are_asked_for_again() -> None:
    calls: list[list[str]] = []

    def reward(images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
        calls.append(prompts)
        return [math.inf if prompt == "b" and len(calls) < 3 else 1.0 for prompt in prompts]

    scored = score(reward)
    assert calls == [["a", "b", "c"], ["b"], ["b"]]
    assert scored.values["mine"].tolist() == [1, 1, 1]
    assert (scored.failed, scored.retried, scored.errors) == ({"mine": 0}, {"mine": 2}, {})


def test_no_number_after_the_retries_is_no_score() -> None:
    scored = score(lambda images, prompts, **metadata: [math.nan if p == "b" else 0.0 for p in prompts], retries=1)
    assert scored.values["mine"].isnan().tolist() == [False, True, False]
    assert (scored.failed, scored.retried, scored.errors) == ({"mine": 1}, {"mine": 1}, {"mine": "no number for 'b'"})


def unreachable(images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
    raise ConnectionError("refused")


def one_for_all(images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
    return [0.0]


def no_weights(images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
    raise MissingWeights("found no model.pt")


def not_installed(images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
    raise ImportError("no module")


def refused(images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
    raise RequestRefused("http://host", 401, "the token is wrong")


@pytest.mark.parametrize(
    ("reward", "why", "retried"),
    [
        (unreachable, "ConnectionError: refused", 6),
        (one_for_all, "ValueError: it returned 1 scores for 3 images, and must return one each", 0),
        (no_weights, "MissingWeights: found no model.pt", 0),
        (not_installed, "ImportError: no module", 0),
        (refused, "RequestRefused: http://host refused the request: the token is wrong", 0),
    ],
)
def test_an_error_ends_training_unless_the_recipe_leaves_its_images_out(reward: Any, why: str, retried: int) -> None:
    with pytest.raises(RewardError, match=f"reward mine failed on 3 images, the first for 'a': {why}"):
        score(reward)
    scored = score(reward, on_error="skip")
    assert scored.values["mine"].isnan().all()
    assert (scored.retried, scored.errors) == ({"mine": retried}, {"mine": why})


BUGGY = """
def look_up(prompt):
    return {}[prompt]

def score(images, prompts, **metadata):
    return [look_up(prompt) for prompt in prompts]
"""


def test_an_error_in_a_users_own_code_shows_its_place_once(tmp_path: Path) -> None:
    file = tmp_path / "my.py"
    file.write_text(BUGGY, encoding="utf-8")
    with pytest.raises(RewardError) as error:
        score(load_function(f"{file}:score"))
    sentence, *frames = str(error.value).splitlines()
    assert sentence == "reward mine failed on 3 images, the first for 'a': KeyError: 'a'"
    assert frames[0] == f"  {file}, line 6, in score: return [look_up(prompt) for prompt in prompts]"
    assert frames[-1] == f"  {file}, line 3, in look_up: return {{}}[prompt]"


def test_an_error_of_a_shipped_reward_shows_no_code() -> None:
    with pytest.raises(RewardError) as error:
        score(find_reward("geneval", RewardConfig.model_validate({"detector": f"{__file__}:no_weights"})))
    assert len(str(error.value).splitlines()) == 1


def test_none_is_no_score_and_not_asked_for_again() -> None:
    calls: list[list[str]] = []

    def reward(images: list[Any], prompts: list[str], **metadata: Any) -> list[float | None]:
        calls.append(prompts)
        return [None if prompt == "b" else 1.0 for prompt in prompts]

    scored = score(reward)
    assert len(calls) == 1
    assert scored.values["mine"].isnan().tolist() == [False, True, False]
    assert scored.errors == {"mine": "no number for 'b'"}


def test_an_error_that_passes_is_only_counted() -> None:
    calls: list[int] = []

    def starting_up(images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
        calls.append(len(images))
        return unreachable(images, prompts) if len(calls) == 1 else [1.0] * len(images)

    assert score(starting_up).retried == {"mine": 3}


def test_more_than_the_stated_share_of_failures_stops() -> None:
    few = Scored({"mine": torch.tensor([1.0, 1.0, 1.0, 1.0, math.nan])}, {"mine": 2}, {"mine": "timed out"})
    more = merged([few, Scored({"mine": torch.tensor([math.nan])}, {"mine": 2}, {"mine": "refused"})])
    assert more.retried == {"mine": 4}
    stop_if_too_many_failed(few, max_failed_fraction=0.2)
    with pytest.raises(RewardError, match=r"reward mine has no score for 2 of 6 images.*the last error: refused"):
        stop_if_too_many_failed(more, max_failed_fraction=0.2)


def test_calls_run_side_by_side_on_as_many_threads_as_asked_for() -> None:
    both = threading.Barrier(2, timeout=10)

    def meeting(images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
        both.wait()
        return [1.0] * len(images)

    scorer = Scorer({"one": meeting, "other": meeting}, ScoringConfig(threads=2))
    scorer.submit(IMAGES, PROMPTS)
    assert {name: values.tolist() for name, values in scorer.collect().values.items()} == {
        "one": [1, 1, 1],
        "other": [1, 1, 1],
    }


HANGING = """
import time, torch
from mixgrpo.data.prompts import Prompt
from mixgrpo.recipe.sections import ScoringConfig
from mixgrpo.training.scoring import Scorer

def hang(images, prompts):
    print("hanging", flush=True)
    time.sleep(100)

def fail(images, prompts):
    time.sleep(0.2)
    raise ValueError("broken")

rewards = {rewards}
scorer = Scorer(rewards, ScoringConfig(threads=len(rewards)))
for _ in range(3):
    scorer.submit(torch.zeros(1, 1, 3, 4, 4), [Prompt("a", {{}})])
scorer.collect()
"""


def start(rewards: str) -> "subprocess.Popen[str]":
    code = HANGING.format(rewards=rewards)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "hanging\n"
    return process


def test_after_an_error_the_process_ends_whatever_the_other_rewards_do() -> None:
    with start("{'hang': hang, 'fail': fail}") as process:
        _, errors = process.communicate(timeout=50)  # the reward takes 100 seconds
    assert process.returncode == 1
    assert "RewardError: reward fail failed on 1 images, the first for 'a': ValueError: broken" in errors


def test_ctrl_c_ends_the_process_whatever_a_reward_does() -> None:
    with start("{'hang': hang}") as process:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=50)  # the reward takes 100 seconds
    assert process.returncode != 0
    assert errors.endswith("KeyboardInterrupt\n")


def test_after_an_error_queued_batches_are_not_scored() -> None:
    calls: list[int] = []
    submitted, raised = threading.Event(), threading.Event()

    def broken(images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
        calls.append(len(images))
        assert (submitted if len(calls) == 1 else raised).wait(5)
        raise ValueError("broken")

    scorer = Scorer({"mine": broken}, ScoringConfig())
    for _ in range(10):
        scorer.submit(IMAGES, PROMPTS)
    submitted.set()
    with pytest.raises(RewardError, match="broken"):
        scorer.collect()
    raised.set()
    scorer.submit(IMAGES, PROMPTS)
    with pytest.raises(RewardError, match="broken"):
        scorer.collect()
    assert len(calls) <= 3  # the first, the one that began before the error was noticed, and the last
    scorer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists a process's threads")
def test_scoring_leaves_the_computing_to_one_team_of_threads() -> None:
    """OpenMP keeps a team for every thread that computes; with two of them, small operations take twice as long."""
    torch.set_num_threads(2)
    images = torch.rand(64, 1, 3, 64, 64)
    threads = Path("/proc/self/task")
    images.sum()  # there is a team from here on
    before = len([*threads.iterdir()])
    scorer = Scorer({"size": lambda images, prompts: [1.0] * len(images)}, ScoringConfig(threads=1))
    scorer.submit(images, [Prompt("a", {})] * 64)
    scorer.collect()
    after = len([*threads.iterdir()])
    torch.set_num_threads(1)
    assert after == before + 1
