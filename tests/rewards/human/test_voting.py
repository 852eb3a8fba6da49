"""A person's votes over HTTP, while a trainer waits for them."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError

import numpy as np
import pytest
from PIL import Image

from mixgrpo.rewards.human.reward import VOTES, human
from runs import small_trainer
from voter import get, picture, post, vote_until


def images(*levels: int) -> list[Image.Image]:
    return [Image.new("RGB", (8, 8), (level, level, level)) for level in levels]


def bright(image: Image.Image) -> float:
    return float(np.asarray(image).mean() > 127)


def test_votes_become_scores_and_are_not_asked_for_again(tmp_path: Path) -> None:
    for round_ in range(2):  # the second is a resumed run
        reward = human(port=0)
        with reward.opened(tmp_path) as said, ThreadPoolExecutor() as pool:
            if not round_:
                pool.submit(vote_until, said.removeprefix("vote at "), bright, 3)
            assert reward(images=images(250, 10, 200), prompts=["a", "a", "b"]) == [1.0, 0.0, 1.0]
    assert len((tmp_path / VOTES).read_text().splitlines()) == 3


def test_without_a_vote_there_is_no_score(tmp_path: Path) -> None:
    reward = human(port=0, patience=0.05)
    with reward.opened(tmp_path):
        assert reward(images=images(250, 10), prompts=["a", "a"]) == [None, None]


def test_pairs(tmp_path: Path) -> None:
    """The darker one is always better."""
    reward = human(port=0, mode="pairs")

    def darker_first(address: str) -> None:
        for _ in range(3):
            (question, *_) = get(address, "state")["questions"]
            first, second = (np.asarray(picture(address, image)).mean() for image in question["images"])
            assert post(address, "vote", {"question": question["name"], "answer": float(first < second)})["counted"]

    with reward.opened(tmp_path) as said, ThreadPoolExecutor() as pool:
        voting = pool.submit(reward, images=images(250, 10, 100), prompts=["a"] * 3)
        address = said.removeprefix("vote at ")
        while not get(address, "state?seen=0")["questions"]:
            pass
        darker_first(address)
        assert voting.result() == [0.0, 1.0, 0.5]


def test_a_vote_can_be_taken_back(tmp_path: Path) -> None:
    reward = human(port=0)
    with reward.opened(tmp_path) as said, ThreadPoolExecutor() as pool:
        address = said.removeprefix("vote at ")
        voting = pool.submit(reward, images=images(250), prompts=["a"])
        while not (state := get(address, "state?seen=0"))["questions"]:
            pass
        name = state["questions"][0]["name"]
        assert post(address, "vote", {"question": name, "answer": 0})["counted"]
        assert not post(address, "vote", {"question": name, "answer": 1})["counted"]  # another page was quicker
        assert post(address, "undo", {})["undone"]
        assert post(address, "vote", {"question": name, "answer": 1})["counted"]
        assert voting.result() == [1.0]
        assert not post(address, "undo", {})["undone"]
    answers = [json.loads(line).get("answer") for line in (tmp_path / VOTES).read_text().splitlines()]
    assert answers == [0, None, 1]


@pytest.mark.parametrize(
    ("path", "data", "status"),
    [
        ("../", None, 404),
        ("../wrong/state", None, 404),
        ("image/../../votes", None, 404),
        ("vote", {"question": "a", "answer": 7}, 400),
        ("vote", {"question": "a" * 5000, "answer": 1}, 400),
        ("vote", ["a"], 400),
    ],
)
def test_nothing_else_is_answered(path: str, data: object, status: int, tmp_path: Path) -> None:
    reward = human(port=0)
    with reward.opened(tmp_path) as said:
        address = said.removeprefix("vote at ")
        with pytest.raises(HTTPError) as error:
            get(address, path) if data is None else post(address, path, data)
    assert error.value.code == status


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with human(port=0).opened(tmp_path) as said:
        port = int(said.split(":")[2].split("/")[0])
        with pytest.raises(OSError, match=f"rewards.human.port = {port}: .*name another one"):
            human(port=port).opened(tmp_path).__enter__()


def test_a_trainer_learns_from_votes(tmp_path: Path) -> None:
    reward = human(port=0)
    trainer = small_trainer(reward, rollout={"prompts": 1, "group_size": 4, "micro_batch": 4})
    answers = iter([1.0, 0.0, 0.0, 1.0])
    with reward.opened(tmp_path) as said, ThreadPoolExecutor() as pool:
        pool.submit(vote_until, said.removeprefix("vote at "), lambda image: next(answers), 4)
        metrics = trainer.iterate()
    assert metrics["rewards"] == {"brightness": 0.5}
    assert metrics["skipped_groups"] == 0
    assert metrics["grad_norm"] > 0
