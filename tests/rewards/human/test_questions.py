import pytest

from mixgrpo.rewards.human.questions import Question, questions, scores


def test_each_image_is_asked_about_once() -> None:
    asked = questions("good-bad", ["a", "b", "a"], ["p", "p", "p"])
    assert [question.images for question in asked] == [("a",), ("b",)]
    assert scores("good-bad", ["a", "b", "a"], asked, {"a": 1.0, "b": None}) == [1.0, None, 1.0]


def test_neighbours_of_a_prompt_are_compared() -> None:
    asked = questions("pairs", ["a", "b", "x", "c", "y"], ["p", "p", "q", "p", "q"])
    assert asked == [
        Question("p", ("a", "b")),
        Question("p", ("b", "c")),
        Question("p", ("c", "a")),
        Question("q", ("x", "y")),
    ]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"a-b": 1.0, "b-c": 1.0, "c-a": 0.0}, [1.0, 0.5, 0.0]),
        ({"a-b": 0.5, "b-c": None, "c-a": 0.0}, [0.75, 0.5, 0.0]),
        ({"a-b": None}, [None, None, None]),
    ],
)
def test_a_score_is_the_share_of_comparisons_that_are_won(
    answers: dict[str, float | None], expected: list[float | None]
) -> None:
    images = ["a", "b", "c"]
    assert scores("pairs", images, questions("pairs", images, ["p"] * 3), answers) == expected


def test_a_lone_image_has_nothing_to_be_compared_with() -> None:
    assert questions("pairs", ["a", "a"], ["p", "p"]) == []
