"""The protocol between a reward server and its clients, version 1.

    POST /v1/score  in one of two forms
        application/json          {"images": [PNG in base64, ...], "prompts": [...], "metadata": {key: [...]}}
        application/octet-stream  {"sizes": [[width, height], ...], "prompts": [...], "metadata": {key: [...]}}
                                  on one line, followed by the pixels: 3 bytes each, row by row, image after image
    200             {"scores": [0.5, null, ...]}, one per image; null if an image has no score
    otherwise       {"detail": "what was wrong, in a sentence"}

A request's memory is counted before it is taken, because a small body may decode to very much: a PNG file to a large
image, JSON to many small objects.
"""

import base64
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from annotated_types import Len
from PIL import Image
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from mixgrpo.rewards.calling import RESERVED, judged

from .rgb import to_rgb

PROTOCOL = 1
SCORE_PATH, VERSION_PATH = f"/v{PROTOCOL}/score", "/version"
CONTENT_TYPES = {"png": "application/json", "raw": "application/octet-stream"}
Form = Literal["png", "raw"]
_BYTES_PER_PIXEL = 4  # of Pillow's RGB images
_SCRATCH_BYTES_PER_PIXEL = 12  # of the image that is being converted
_BYTES_PER_JSON_VALUE = 100


class ScoreRequest(NamedTuple):
    """The arguments of a reward."""

    images: list[Image.Image]
    prompts: list[str]
    metadata: dict[str, list[Any]]

    @property
    def memory(self) -> int:
        """Bytes of its pixels."""
        return _BYTES_PER_PIXEL * sum(image.width * image.height for image in self.images)


@dataclass(frozen=True)
class Limits:
    """The largest request that the server accepts."""

    body: int = 128 * 2**20
    """Bytes."""
    images: int = 256
    pixels: int = 32 * 2**20
    """Of all images together."""
    pixels_per_image: int = 16 * 2**20


class Malformed(ValueError):
    """A request or response that does not follow the protocol."""


class TooLarge(ValueError):
    """A request that exceeds the limits."""


def encode_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG", compress_level=1)
    return file.getvalue()


def encode(request: ScoreRequest, form: Form) -> bytes:
    texts = {"prompts": request.prompts, "metadata": request.metadata}
    images = [to_rgb(image) for image in request.images]
    if form == "png":
        pngs = [base64.b64encode(encode_png(image)).decode() for image in images]
        return json.dumps({"images": pngs, **texts}).encode()
    header = json.dumps({"sizes": [image.size for image in images], **texts}).encode()
    return b"\n".join([header, b"".join(image.tobytes() for image in images)])


def decode(
    body: bytes | bytearray, content_type: str, limits: Limits, take: Callable[[int], None] = lambda count: None
) -> ScoreRequest:
    """`take` is told how many more bytes of memory are about to be used, and may raise an error."""
    match content_type.partition(";")[0].strip().lower():
        case "application/json":
            message = _parse(_PngRequest, body, take)
            _check_counts(len(message.images), message, limits)
            return ScoreRequest(_decode_pngs(message.images, limits, take), message.prompts, message.metadata)
        case "application/octet-stream":
            end = body.find(b"\n") if b"\n" in body else len(body)
            header = _parse(_RawHeader, body[:end], take)
            _check_counts(len(header.sizes), header, limits)
            images = _decode_pixels(header.sizes, memoryview(body)[end + 1 :], limits, take)
            return ScoreRequest(images, header.prompts, header.metadata)
    raise Malformed(f"Content-Type {content_type!r}: must be {' or '.join(CONTENT_TYPES.values())}")


def encode_scores(scores: Sequence[float | None]) -> bytes:
    return json.dumps({"scores": [score if judged(score) else None for score in scores]}).encode()


def decode_scores(body: bytes) -> list[float]:
    """NaN for images without a score."""
    scores = _parse(_ScoreResponse, body).scores
    return [math.nan if score is None else score for score in scores]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Texts(_Message):
    prompts: list[str]
    metadata: dict[str, list[Any]] = {}


class _PngRequest(_Texts):
    images: list[str]


class _RawHeader(_Texts):
    sizes: list[Annotated[list[PositiveInt], Len(2, 2)]]


class _ScoreResponse(_Message):
    scores: list[float | None]


_M = TypeVar("_M", bound=_Message)


def _parse(message: type[_M], text: bytes | bytearray, take: Callable[[int], None] = lambda count: None) -> _M:
    character = 1 if text.isascii() else 4  # bytes, at most: the text as a whole, its strings, and the files in them
    take((2 * character + 1) * len(text) + _BYTES_PER_JSON_VALUE * sum(text.count(mark) for mark in b"[{,:"))
    try:
        value = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the JSON: {error}") from None
    if not isinstance(value, dict):
        raise Malformed("the JSON: must be an object")
    try:
        return message.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        raise Malformed(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """What a second value under the same key means is anybody's guess."""
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is given twice")
    return values


def _check_counts(count: int, texts: _Texts, limits: Limits) -> None:
    if count == 0:
        raise Malformed("no images: a request must have at least 1")
    if count > limits.images:
        raise TooLarge(f"{count} images: a request may have at most {limits.images}")
    for name in RESERVED:
        if name in texts.metadata:
            raise Malformed(f"metadata.{name}: a column must not have this name")
    columns = {f"metadata.{name}": values for name, values in texts.metadata.items()}
    for name, values in {"prompts": texts.prompts, **columns}.items():
        if len(values) != count:
            raise Malformed(f"{name}: {len(values)} values for {count} images, must be one per image")


def _take_pixels(sizes: Sequence[tuple[int, int]], limits: Limits, take: Callable[[int], None]) -> None:
    pixels = [width * height for width, height in sizes]
    for i, count in enumerate(pixels):
        if count > limits.pixels_per_image:
            raise TooLarge(f"images.{i}: {count} pixels: an image may have at most {limits.pixels_per_image}")
    if sum(pixels) > limits.pixels:
        raise TooLarge(f"{sum(pixels)} pixels: a request may have at most {limits.pixels}")
    take(_BYTES_PER_PIXEL * sum(pixels) + _SCRATCH_BYTES_PER_PIXEL * max(pixels))


def _decode_pngs(texts: list[str], limits: Limits, take: Callable[[int], None]) -> list[Image.Image]:
    files = [_open_png(f"images.{i}", text) for i, text in enumerate(texts)]
    _take_pixels([file.size for file in files], limits, take)
    images = []
    for i, file in enumerate(files):
        try:
            images.append(to_rgb(file))
        except Exception as error:
            raise Malformed(f"images.{i}: broken PNG: {error}") from None
        finally:
            file.close()  # frees its pixels as they were
    return images


def _open_png(name: str, text: str) -> Image.Image:
    """Reads the header only. Pillow raises many kinds of errors for broken files; all are the client's fault."""
    try:
        return Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"])
    except Image.DecompressionBombError as error:
        raise TooLarge(f"{name}: {error}") from None
    except Exception:  # its text may name an object of this process by its address
        raise Malformed(f"{name}: not a PNG in base64") from None


def _decode_pixels(
    sizes: list[list[int]], pixels: memoryview, limits: Limits, take: Callable[[int], None]
) -> list[Image.Image]:
    shapes = [(width, height) for width, height in sizes]
    lengths = [3 * width * height for width, height in shapes]
    _take_pixels(shapes, limits, take)
    if len(pixels) != sum(lengths):
        raise Malformed(f"{len(pixels)} bytes of pixels: the given sizes need {sum(lengths)}")
    images, start = [], 0
    for shape, length in zip(shapes, lengths, strict=True):
        images.append(Image.frombytes("RGB", shape, pixels[start : start + length]))
        start += length
    return images
