import pytest
from PIL import Image, ImageDraw, ImageFont

from mixgrpo.rewards.functions.ocr import ocr, requested_text, text_score


@pytest.mark.parametrize(
    ("found", "requested", "score"),
    [
        ("Open 24 hours", "OPEN 24 Hours", 1),  # letter case and spaces are ignored
        ("we are open today", "open", 1),  # as part of a longer text
        ("opon", "open", 3 / 4),
        ("ope", "open", 3 / 4),
        ("", "open", 0),
        ("something else altogether", "open", 0),  # the edit distance exceeds the length; the score is at least 0
    ],
)
def test_flow_grpos_score(found: str, requested: str, score: float) -> None:
    assert text_score(found, requested) == pytest.approx(score)


def test_the_requested_text_is_the_rows_text_or_the_quoted_part_of_the_prompt() -> None:
    assert requested_text('a sign that says "Hello World"') == "Hello World"
    assert requested_text("a sign that says “Hello”, and “no more”") == "Hello"
    assert requested_text('a sign that says "Hello"', "Bye") == "Bye"
    assert requested_text("a year", 2024) == "2024"
    assert requested_text("a digit", 0) == "0"
    with pytest.raises(ValueError, match="prompt 'a red fox' requests no text"):
        requested_text("a red fox")


def test_several_lines_in_a_large_image_are_read() -> None:
    image = Image.new("RGB", (320, 240), "white")
    font = ImageFont.load_default(size=40)
    for y, line in ((40, "Grand"), (140, "Opening")):
        ImageDraw.Draw(image).text((40, y), line, "navy", font)
    empty = Image.new("RGB", (320, 240), "white")
    prompts = ['a shop with "Grand Opening" on the door'] * 3
    scores = ocr()([image, empty, image], prompts, text=[None, None, "Grand Closing"])
    assert scores[:2] == [1, 0]
    assert 0.4 < scores[2] < 1
