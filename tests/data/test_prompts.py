import json
from collections import Counter
from pathlib import Path

import pytest

from mixgrpo.data.prompts import batch, prompts_of, spread
from mixgrpo.data.sources import evaluation_prompts, train_prompts


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


@pytest.mark.parametrize("source", ["nowhere.txt", "prompts.csv"])
def test_a_missing_file_is_refused_by_name(source: str) -> None:
    with pytest.raises(ValueError, match=f"prompts '{source}': must be scenes, or a .txt or .jsonl file that exists"):
        train_prompts(source, 0, 1)


def test_a_row_without_a_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="this row has only caption, n"):
        prompts_of([{"caption": "x", "n": 1}])


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
