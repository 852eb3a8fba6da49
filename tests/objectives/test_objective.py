import torch
from torch import Tensor

from mixgrpo.objectives.objective import Loss, Term


def term(state_of: list[list[int]]) -> Term:
    count = 1 + max(max(own) for own in state_of)
    return Term(
        torch.zeros(count, 2),
        torch.zeros(count),
        torch.zeros(count).long(),
        torch.tensor(state_of),
        range(len(state_of)),
        lambda s, v: Loss(v.current),
    )


def selected(one: Term, images: list[int], micro_batch: int) -> list[tuple[list[int], list[int], list[list[int]]]]:
    def plain(tensor: Tensor) -> list[int]:
        return tensor.tolist()

    return [
        (plain(s.images), plain(s.states), s.states[s.state_of].tolist())
        for s in one.selections(torch.tensor(images, dtype=torch.long), micro_batch)
    ]


def test_shared_states_are_counted_once_and_images_keep_their_order() -> None:
    shared = term([[0], [0], [0], [1], [1], [1], [2], [2], [2]])
    assert selected(shared, [7, 1, 5, 0, 8], 2) == [
        ([1, 5, 0], [0, 1], [[0], [1], [0]]),
        ([7, 8], [2], [[2], [2]]),
    ]


def test_a_micro_batch_bounds_the_states() -> None:
    alone = term([[n] for n in range(7)])
    assert [states for _, states, _ in selected(alone, [6, 0, 3, 2, 5], 2)] == [[0, 2], [3, 5], [6]]


def test_all_states_of_an_image_come_together() -> None:
    """Two draws per image; with a micro-batch of three only one image fits, with one not even that."""
    draws = term([[0, 3], [1, 4], [2, 5]])
    for micro_batch in (3, 1):
        assert [(images, states) for images, states, _ in selected(draws, [0, 1, 2], micro_batch)] == [
            ([0], [0, 3]),
            ([1], [1, 4]),
            ([2], [2, 5]),
        ]
    assert [images for images, _, _ in selected(draws, [0, 1, 2], 4)] == [[0, 1], [2]]


def test_no_images_need_no_model_call() -> None:
    assert selected(term([[0]]), [], 4) == []
