import pytest

from mixgrpo.rewards.clients.answers import parse_score

UNIFIED = "star (object): 1\nred (attribute): 0\nleft of (relation): 1\nFinal Score: 3.5"
ASPECTS = "Alignment Score (1-5): 2.5\nCoherence Score (1-5): 3.0\nStyle Score (1-5): 3.5"


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        # UnifiedReward
        (UNIFIED, 3.5),
        (UNIFIED.replace("Score: 3.5", "Score:\n**3.5**"), 3.5),
        (ASPECTS, 3.0),
        (f"{ASPECTS}\n\nFinal Score: 4", 4),
        # a number alone
        ("4", 4),
        (" 4.\n", 4),
        ("**4.5**", 4.5),
        ("4/5", 4),
        ("4 out of 5", 4),
        # JSON
        ('{"score": 4}', 4),
        ('```json\n{"reason": "the star is {blue}", "score": "4/5"}\n```', 4),
        ('{"score": 2, "reason": "a score: 5 would need a star"}', 2),
        ('{"Score": 4} as said', 4),
        # labels
        ("Score: 4/5", 4),
        ("**Score**: 4", 4),
        ("Overall rating = 4 out of 5", 4),
        ("The score is 4.", 4),
        ("Score (1-5): 4", 4),
        ("Score: 2? No: the star is there. Score: 4", 4),
        ("Final score: 4. With a red star the score is 5.", 4),
        # wrapped
        (r"It shows what it should. \boxed{4}", 4),
        (r"$\boxed{\text{4/5}}$", 4),
        ("<think>Score: 1, or rather 2?</think><answer>4</answer>", 4),
        ("the chat template opened the thought. Score: 1</think>Score: 4", 4),
        ("<answer>Final Score: 4</answer>", 4),
        # no score
        ("", None),
        ("I cannot judge images.", None),
        ("There are 3 stars and 2 circles.", None),
        ("The image shows 4", None),
        ("<think>Score: 4", None),
        ("Score: high", None),
        ("Score: 3-4", None),
        ("Score: 4,5", None),  # a decimal comma, or two scores
        ("Score: 4, because the star is there", 4),
        ("4" + 200_000 * " " + "stars", None),
        ('{"stars": ' + 20_000 * "[", None),
        ('{"score": null}', None),
        ('{"score": [4, 3]}', None),
        ("<answer>Image 1 is better</answer>", None),
        # a score on another scale
        ("Score: 7", None),
        ("Score: 0", None),
        ("Score: 4/10", None),
        ("Alignment Score: 4\nStyle Score: 9", None),
    ],
)
def test_scores_from_1_to_5(answer: str, score: float | None) -> None:
    expected = None if score is None else pytest.approx((score - 1) / 4)
    assert parse_score(answer, 1, 5) == expected


def test_scores_on_other_scales() -> None:
    assert parse_score("Score: 0", 0, 10) == 0
    assert parse_score("Score: 80/100", 0, 100) == pytest.approx(0.8)
    assert parse_score("-1", -1, 1) == 0
    assert parse_score("0.25", 0, 1) == 0.25
