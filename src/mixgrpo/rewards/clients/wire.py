"""The protocol between a reward server and its clients, version 1.

    POST /v1/score  in one of two forms
        application/json          {"images": [PNG in base64, ...], "prompts": [...], "metadata": {key: [...]}}
        application/octet-stream  {"sizes": [[width, height], ...], "prompts": [...], "metadata": {key: [...]}}
                                  on one line, followed by the pixels: 3 bytes each, row by row, image after image
    200             {"scores": [0.5, null, ...]}, one per image; null if an image has no score
    otherwise       {"detail": "what was wrong, in a sentence"}

The size of an image is checked before it is decoded, because a small PNG file may decompress to a very large image.
"""

import base64
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

from PIL import Image
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

PROTOCOL = 1
SCORE_PATH = f"/v{PROTOCOL}/score"
CONTENT_TYPES = {"png": "application/json", "raw": "application/octet-stream"}
Form = Literal["png", "raw"]


class ScoreRequest(NamedTuple):
    """The arguments of a reward."""

    images: list[Image.Image]
    prompts: list[str]
    metadata: dict[str, list[Any]]


@dataclass(frozen=True)
class Limits:
    """The largest request that the server accepts."""

    body: int = 256 * 2**20
    """Bytes."""
    images: int = 256
    pixels: int = 64 * 2**20
    """Of all images together."""


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
    if form == "png":
        pngs = [base64.b64encode(encode_png(image)).decode() for image in request.images]
        return json.dumps({"images": pngs, **texts}).encode()
    images = [image.convert("RGB") for image in request.images]
    header = json.dumps({"sizes": [image.size for image in images], **texts}).encode()
    return b"\n".join([header, b"".join(image.tobytes() for image in images)])


def decode(body: bytes, content_type: str, limits: Limits) -> ScoreRequest:
    match content_type.partition(";")[0].strip().lower():
        case "application/json":
            message = _parse(_PngRequest, body)
            _check_counts(len(message.images), message, limits)
            return ScoreRequest(_decode_pngs(message.images, limits), message.prompts, message.metadata)
        case "application/octet-stream":
            line, _, pixels = body.partition(b"\n")
            header = _parse(_RawHeader, line)
            _check_counts(len(header.sizes), header, limits)
            return ScoreRequest(_decode_pixels(header.sizes, pixels, limits), header.prompts, header.metadata)
    raise Malformed(f"Content-Type {content_type!r}: must be {' or '.join(CONTENT_TYPES.values())}")


def encode_scores(scores: Sequence[float]) -> bytes:
    return json.dumps({"scores": [score if math.isfinite(score) else None for score in scores]}).encode()


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
    sizes: list[tuple[PositiveInt, PositiveInt]]


class _ScoreResponse(_Message):
    scores: list[float | None]


_M = TypeVar("_M", bound=_Message)


def _parse(message: type[_M], text: bytes) -> _M:
    try:
        return message.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the JSON"
        raise Malformed(f"{where}: {first['msg']}") from None


def _check_counts(count: int, texts: _Texts, limits: Limits) -> None:
    if count == 0:
        raise Malformed("no images: a request must have at least 1")
    if count > limits.images:
        raise TooLarge(f"{count} images: a request may have at most {limits.images}")
    for name in ("images", "prompts"):
        if name in texts.metadata:
            raise Malformed(f"metadata.{name}: a column must not have this name")
    columns = {f"metadata.{name}": values for name, values in texts.metadata.items()}
    for name, values in {"prompts": texts.prompts, **columns}.items():
        if len(values) != count:
            raise Malformed(f"{name}: {len(values)} values for {count} images, must be one per image")


def _check_pixel_count(pixels: int, limits: Limits) -> None:
    if pixels > limits.pixels:
        raise TooLarge(f"{pixels} pixels: a request may have at most {limits.pixels}")


def _decode_pngs(texts: list[str], limits: Limits) -> list[Image.Image]:
    images: list[Image.Image] = []
    total = 0
    for i, text in enumerate(texts):
        # Pillow raises many kinds of errors for broken files. All of them are the client's fault.
        try:
            image = Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"])
        except Image.DecompressionBombError as error:
            raise TooLarge(f"images.{i}: {error}") from None
        except Exception as error:
            raise Malformed(f"images.{i}: not a PNG in base64: {error}") from None
        total += image.width * image.height
        _check_pixel_count(total, limits)  # so far only the header has been read
        try:
            images.append(image.convert("RGB"))
        except Exception as error:
            raise Malformed(f"images.{i}: broken PNG: {error}") from None
    return images


def _decode_pixels(sizes: list[tuple[int, int]], pixels: bytes, limits: Limits) -> list[Image.Image]:
    lengths = [3 * width * height for width, height in sizes]
    _check_pixel_count(sum(lengths) // 3, limits)
    if len(pixels) != sum(lengths):
        raise Malformed(f"{len(pixels)} bytes of pixels: the given sizes need {sum(lengths)}")
    images, start = [], 0
    for size, length in zip(sizes, lengths, strict=True):
        images.append(Image.frombytes("RGB", size, pixels[start : start + length]))
        start += length
    return images
