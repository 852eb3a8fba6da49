import pytest
from PIL import Image, ImageDraw, ImageFont

from mixgrpo.rewards.functions.ocr import asked_for, match, ocr


@pytest.mark.parametrize(
    ("written", "asked", "score"),
    [
        ("Open 24 hours", "OPEN 24 Hours", 1),  # letter case and spaces aside
        ("we are open today", "open", 1),  # among other writing
        ("opon", "open", 3 / 4),
        ("ope", "open", 3 / 4),
        ("", "open", 0),
        ("something else altogether", "open", 0),  # farther than its length, and no less than 0
    ],
)
def test_flow_grpos_score_by_hand(written: str, asked: str, score: float) -> None:
    assert match(written, asked) == pytest.approx(score)


def test_what_is_asked_for_is_the_rows_text_or_in_quotes() -> None:
    assert asked_for('a sign that says "Hello World"') == "Hello World"
    assert asked_for("a sign that says “Hello”, and “no more”") == "Hello"
    assert asked_for('a sign that says "Hello"', "Bye") == "Bye"
    with pytest.raises(ValueError, match=r"nothing to read is asked for.*prompt 'a red fox'"):
        asked_for("a red fox")


def test_several_lines_in_a_large_picture_are_read() -> None:
    picture = Image.new("RGB", (320, 240), "white")
    font = ImageFont.load_default(size=40)
    for y, line in ((40, "Grand"), (140, "Opening")):
        ImageDraw.Draw(picture).text((40, y), line, "navy", font)
    empty = Image.new("RGB", (320, 240), "white")
    prompts = ['a shop with "Grand Opening" on the door'] * 3
    scores = ocr()([picture, empty, picture], prompts, text=[None, None, "Grand Closing"])
    assert scores[:2] == [1, 0]
    assert 0.4 < scores[2] < 1
