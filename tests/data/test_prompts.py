import json
import re
from collections import Counter
from pathlib import Path

import pytest

from mixgrpo.data.prompts import batch, evaluation_sets, prompts_of, spread
from mixgrpo.data.sources import both_halves, evaluation_prompts, train_prompts
from mixgrpo.data.stream import Stream
from mixgrpo.scenes.source import train_rows


def test_a_pass_sees_every_prompt_once_in_an_order_of_its_own() -> None:
    prompts = prompts_of([f"p{i}" for i in range(12)])
    passes = [[p.text for k in range(3) for p in batch(prompts, 3 * e + k, 4, seed=0)] for e in range(2)]
    assert sorted(passes[0]) == sorted(passes[1]) == sorted(p.text for p in prompts)
    assert passes[0] != passes[1]
    assert batch(prompts, 5, 4, seed=0) == batch(prompts, 5, 4, seed=0)
    assert batch(prompts, 5, 4, seed=0) != batch(prompts, 5, 4, seed=1)


def test_a_batch_may_reach_into_the_next_pass() -> None:
    prompts = prompts_of(["a", "b", "c"])
    assert len(batch(prompts, 0, 8, seed=0)) == 8


def test_files_and_rows(tmp_path: Path) -> None:
    text, rows = tmp_path / "p.txt", tmp_path / "p.jsonl"
    text.write_text("a fox\n\na bird\n")
    rows.write_text("".join(json.dumps({"prompt": p, "text": p.upper()}) + "\n" for p in ("a fox", "a bird")))
    assert [p.text for p in train_prompts(str(text), 0, 1)] == ["a fox", "a bird"]
    assert evaluation_prompts(str(rows))[1].metadata == {"text": "A BIRD"}
    assert prompts_of([{"prompt": "x", "n": 1}, "y"])[0].metadata == {"n": 1}


@pytest.mark.parametrize("source", ["nowhere.txt", "prompts.parquet", "ymhao/HPDv2", "p" * 5000])
def test_a_missing_file_is_refused_by_name(source: str) -> None:
    message = f"prompts '{source}': must be scenes, or a .txt, .jsonl or .csv file that exists"
    with pytest.raises(ValueError, match=re.escape(message)):
        train_prompts(source, 0, 1)


def test_a_row_without_a_prompt_is_refused() -> None:
    with pytest.raises(
        ValueError, match="prompt 2: a prompt dataset needs a column `prompt`; this row has only caption, n"
    ):
        prompts_of(["y", {"caption": "x", "n": 1}])


def test_training_asks_for_the_kinds_that_are_held_out_in_their_proportions_and_for_none_of_those() -> None:
    train, held_out = train_prompts("scenes", 0, 3000), evaluation_prompts("scenes")
    assert not {p.text for p in train} & {p.text for p in held_out}
    for kind, count in Counter(p.metadata["kind"] for p in held_out).items():
        share = sum(p.metadata["kind"] == kind for p in train) / len(train)
        assert share == pytest.approx(count / len(held_out), abs=0.04)


def test_a_selection_is_spread_evenly() -> None:
    assert spread(range(10), 5) == [0, 2, 4, 6, 8]
    assert spread(range(7), 3) == [0, 2, 4]
    assert spread(range(3), 5) == [0, 1, 2]


@pytest.mark.parametrize("iterations", [1, 100, 300])
def test_a_longer_run_begins_like_a_shorter_one(iterations: int) -> None:
    """And like `scenes`, of which every prompt was drawn and shuffled at once."""
    drawn = prompts_of(train_rows(0, 135 * 24))
    prompts = train_prompts("scenes", 0, iterations * 24)
    for k in range(min(iterations, 10)):
        assert batch(prompts, k, 24, seed=0) == batch(drawn, k, 24, seed=0)


def test_a_stream_is_drawn_when_it_is_needed() -> None:
    asked: list[int] = []

    def first(count: int) -> list[int]:
        asked.append(count)
        return [*range(count)]

    stream = Stream(first, 10_000_000)
    assert (len(stream), asked) == (10_000_000, [])
    assert (stream[0], stream[10:12], stream.at(5000)) == (0, [10, 11], 5000)
    assert asked == [3240, 6480]


def test_a_stream_has_every_prompt_once() -> None:
    prompts = train_prompts("scenes", 0, 3240 + 10)
    drawn = [prompt.text for k in range(65) for prompt in batch(prompts, k, 50, seed=0)]
    assert Counter(drawn[:3240]) == Counter(prompt.text for prompt in prompts[:3240])


def test_a_path_is_read_as_a_file_never_letter_by_letter(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("a fox\na bird\n")
    assert prompts_of(path) == prompts_of(str(path)) == prompts_of(["a fox", "a bird"])


def test_several_evaluation_sets_have_names() -> None:
    sets = evaluation_sets({"drawbench": ["a"], "parti": [{"prompt": "b", "n": 1}]})
    assert {name: [prompt.text for prompt in prompts] for name, prompts in sets.items()} == {
        "drawbench": ["a"],
        "parti": ["b"],
    }
    assert evaluation_sets(["a"]) == {"evaluation": prompts_of(["a"])}
    with pytest.raises(ValueError, match="drawbench, parti: several datasets where one is needed"):
        prompts_of({"drawbench": ["a"], "parti": ["b"]})


def test_one_prompt_in_ten_of_a_file_is_held_out(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("".join(f"prompt {n}\n" for n in range(40)) + "prompt 0\n")
    train_source, evaluation_source = both_halves(str(path))
    train = [prompt.text for prompt in train_prompts(train_source, 0, 1)]
    evaluation = [prompt.text for prompt in evaluation_prompts(evaluation_source)]
    assert evaluation == ["prompt 0", "prompt 10", "prompt 20", "prompt 30"]
    assert len(train) == 36
    assert not {*train} & {*evaluation}


def test_a_file_of_one_prompt_cannot_be_halved(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("a fox\na fox\n")
    with pytest.raises(ValueError, match="needs at least two different prompts"):
        evaluation_prompts(f"{path}#held-out")


def test_prompts_that_were_python_objects_cannot_be_found_again() -> None:
    with pytest.raises(
        ValueError, match="prompts python: they were given as Python objects; name a file of them instead"
    ):
        evaluation_prompts("python")
