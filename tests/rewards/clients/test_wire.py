import base64
import gc
import io
import json
import math
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from messages import bomb, message, noise
from mixgrpo.rewards.clients.wire import (
    CONTENT_TYPES,
    Form,
    Limits,
    Malformed,
    ScoreRequest,
    TooLarge,
    decode,
    decode_scores,
    encode,
    encode_png,
    encode_scores,
)

PNG, RAW = CONTENT_TYPES["png"], CONTENT_TYPES["raw"]


@pytest.mark.parametrize("form", CONTENT_TYPES)
def test_a_request_survives_encoding_and_decoding(form: Form) -> None:
    sent = ScoreRequest(
        [noise(5, 3), noise(2, 7, seed=1)], ["a\nb", "ü"], {"kind": ["text", None], "boxes": [[1, 2], []]}
    )
    received = decode(encode(sent, form), CONTENT_TYPES[form], Limits())
    assert [np.asarray(image).tolist() for image in received.images] == [np.asarray(i).tolist() for i in sent.images]
    assert received.prompts == sent.prompts
    assert received.metadata == sent.metadata


def test_a_score_that_is_not_finite_is_sent_as_null() -> None:
    assert json.loads(encode_scores([0.5, math.nan, math.inf])) == {"scores": [0.5, None, None]}
    assert decode_scores(b'{"scores": [1, null]}') == [1.0, pytest.approx(math.nan, nan_ok=True)]


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    """A finalizer that another test left, run where brackets are nested deepest, would fail there itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    ("body", "content_type", "problem"),
    [
        (b"", PNG, "the JSON: "),
        (b"[" * 100_000, PNG, "the JSON: "),
        (b"\xff\xfe", PNG, "the JSON: "),
        (message(), "text/plain", "Content-Type 'text/plain': must be application/json or application/octet-stream"),
        (message(images=[]), PNG, "no images"),
        (message(images="x"), PNG, "images: Input should be a valid list"),
        (b'{"prompts": [], "prompts": ["a"]}', PNG, "the JSON: the key 'prompts' is given twice"),
        (message()[:-1] + b', "metadata": {"a": [1], "a": [2]}}', PNG, "the JSON: the key 'a' is given twice"),
        (b"[1]", PNG, "the JSON: must be an object"),
        (message(images=["%%"]), PNG, "images.0: not a PNG in base64"),
        (message(images=[base64.b64encode(b"GIF89a").decode()]), PNG, "images.0: not a PNG in base64"),
        (message(images=[base64.b64encode(encode_png(noise(9, 9))[:-40]).decode()]), PNG, "images.0: broken PNG"),
        (message(prompts=["a", "b"]), PNG, "prompts: 2 values for 1 images"),
        (message(metadata={"kind": []}), PNG, "metadata.kind: 0 values for 1 images"),
        (message(metadata={"images": [1]}), PNG, "metadata.images: a column must not have this name"),
        (message(weight=1), PNG, "weight: Extra inputs are not permitted"),
        (b'{"sizes": [[2, 2]], "prompts": ["a"]}\n' + bytes(11), RAW, "11 bytes of pixels: the given sizes need 12"),
        (b'{"sizes": [[0, 2]], "prompts": ["a"]}\n', RAW, "sizes.0.0: Input should be greater than 0"),
        (b'{"sizes": [[-2, -2]], "prompts": ["a"]}\n' + bytes(12), RAW, "sizes.0.0: Input should be greater than 0"),
    ],
)
@pytest.mark.usefixtures("no_garbage_collection")
def test_a_malformed_request_is_an_error_with_the_reason(body: bytes, content_type: str, problem: str) -> None:
    with pytest.raises(Malformed) as error:
        decode(body, content_type, Limits())
    assert str(error.value).startswith(problem)


@pytest.mark.parametrize("size", [(9_000, 9_000), (60_000, 60_000)])
def test_a_decompression_bomb_is_refused_from_its_header(size: tuple[int, int]) -> None:
    body = message(images=[base64.b64encode(bomb(*size)).decode()])
    assert len(body) < 300
    with pytest.raises(TooLarge):
        decode(body, PNG, Limits())


def one_bit(side: int) -> str:
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_memory_is_counted_before_it_is_used() -> None:
    """A PNG file of some kB is a picture of many MB, and JSON of one character per value is many objects."""
    for body, content_type, least in (
        (message(images=[one_bit(4000)]), PNG, 16 * 4000**2),
        (b'{"sizes": [[2, 2]], "prompts": ["a"]}\n' + bytes(12), RAW, 16 * 4),
        (message(metadata={"kind": [[0] * 1000]}), PNG, 100_000),
    ):
        taken: list[int] = []
        decode(body, content_type, Limits(), taken.append)
        assert sum(taken) >= least + len(body)

    def nothing_left(count: int) -> None:
        if count > 2**20:
            raise MemoryError

    with pytest.raises(MemoryError):
        decode(message(images=[one_bit(4000)]), PNG, Limits(), nothing_left)


def test_one_image_may_not_have_all_pixels_of_a_request() -> None:
    body = message(images=[one_bit(5000)])
    assert len(body) < 10_000
    with pytest.raises(TooLarge, match=r"images\.0: 25000000 pixels: an image may have at most 16777216"):
        decode(body, PNG, Limits())


def test_an_error_names_no_address() -> None:
    with pytest.raises(Malformed) as error:
        decode(message(images=[base64.b64encode(b"GIF89a").decode()]), PNG, Limits())
    assert str(error.value) == "images.0: not a PNG in base64"


@pytest.mark.parametrize("form", CONTENT_TYPES)
def test_limits_apply_to_all_images_together(form: Form) -> None:
    body = encode(ScoreRequest([noise(10, 10)] * 3, ["a"] * 3, {}), form)
    decode(body, CONTENT_TYPES[form], Limits(images=3, pixels=300))
    for limits, problem in ((Limits(images=2), "3 images"), (Limits(pixels=299), "300 pixels")):
        with pytest.raises(TooLarge, match=problem):
            decode(body, CONTENT_TYPES[form], limits)


def test_images_of_other_modes_are_converted_to_rgb() -> None:
    file = io.BytesIO()
    Image.new("LA", (2, 2), (7, 255)).save(file, format="PNG")
    request = decode(message(images=[base64.b64encode(file.getvalue()).decode()]), PNG, Limits())
    assert request.images[0].getpixel((0, 0)) == (7, 7, 7)


@pytest.mark.parametrize("form", CONTENT_TYPES)
def test_both_forms_show_what_is_transparent_on_white(form: Form) -> None:
    request = ScoreRequest([Image.new("RGBA", (2, 2), (0, 0, 0, 0)), Image.new("CMYK", (2, 2))], ["a", "b"], {})
    images = decode(encode(request, form), CONTENT_TYPES[form], Limits()).images
    assert [image.getpixel((0, 0)) for image in images] == [(255, 255, 255)] * 2
