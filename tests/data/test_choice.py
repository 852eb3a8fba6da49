from collections import Counter

import torch

from mixgrpo.data.choice import Tried, choose
from mixgrpo.data.prompts import batch, place_of, prompts_of
from mixgrpo.data.stream import Stream

LIST = prompts_of([f"p{i}" for i in range(40)])
STREAM = Stream(lambda count: prompts_of([f"s{i}" for i in range(count)]), 40)


def run(iterations: int, revisited: float, spread: float = 0.0, prompts: object = LIST) -> Tried:
    tried = Tried()
    for k in range(iterations):
        chosen = choose(prompts, tried, k, 8, revisited, seed=0)  # type: ignore[arg-type]
        tried.record(chosen.places, chosen.new, [spread] * 8)
    return tried


def test_without_a_share_for_old_ones_every_pass_sees_every_prompt_once() -> None:
    for prompts in (LIST, STREAM):
        tried = Tried()
        for k in range(12):
            chosen = choose(prompts, tried, k, 8, 0.0, seed=3)
            assert chosen.prompts == batch(prompts, k, 8, seed=3)
            assert chosen.new == 8
            tried.record(chosen.places, chosen.new, [1.0] * 8)


def test_prompts_that_taught_are_drawn_again_and_the_others_are_not() -> None:
    tried = Tried(fresh=20, spread={place: float(place < 10) for place in range(20)})
    chosen = choose(LIST, tried, 7, 8, 0.5, seed=0)
    new, again = chosen.places[: chosen.new], chosen.places[chosen.new :]
    assert len(new) == len({*again}) == 4
    assert {*again} <= {*range(10)}
    assert [prompt.text for prompt in chosen.prompts] == [f"p{place}" for place in chosen.places]


def test_no_prompt_is_left_out_because_others_come_again() -> None:
    tried, new = Tried(), []
    for k in range(9):
        chosen = choose(LIST, tried, k, 8, 0.5, seed=0)
        new += chosen.places[: chosen.new]
        tried.record(chosen.places, chosen.new, [1.0] * 8)
    assert new == [place_of(LIST, number, 0) for number in range(40)]
    assert sorted(new) == [*range(40)]


def test_where_none_taught_all_are_new() -> None:
    assert run(4, 0.75, spread=0.0).fresh == 32
    assert run(4, 0.75, spread=1.0).fresh == 8 + 3 * 2


def test_the_more_a_prompts_rewards_differed_the_more_often_it_is_drawn() -> None:
    tried = Tried(fresh=20, spread={place: 0.9 if place < 2 else 0.1 for place in range(20)})
    drawn = Counter(place for k in range(200) for place in choose(LIST, tried, k, 8, 0.25, seed=0).places[6:])
    assert sum(drawn[place] for place in range(2)) > 200 * 2 * 0.3
    assert len(drawn) > 10


def test_the_latest_group_counts() -> None:
    tried = Tried()
    tried.record([3, 4], 2, [0.5, 0.5])
    tried.record([3], 0, [0.0])
    assert choose(LIST, tried, 5, 4, 0.5, seed=0).places[3:] == [4]


def test_the_past_goes_into_tensors_and_back() -> None:
    tried = run(5, 0.5, spread=0.25)
    again = Tried.of(tried.tensors())
    assert again == tried
    assert choose(LIST, again, 5, 8, 0.5, seed=0) == choose(LIST, tried, 5, 8, 0.5, seed=0)
    assert Tried().tensors() == {}
    assert Tried.of({}) == Tried()
    assert all(tensor.numel() for tensor in tried.tensors().values())
    assert tried.tensors()["place"].dtype == torch.int64
