"""What a reward server and its clients say to each other: protocol 1.

    POST /v1/score  in one of two forms
        application/json          {"images": [PNG in base64, ...], "prompts": [...], "metadata": {key: [...]}}
        application/octet-stream  {"sizes": [[width, height], ...], "prompts": [...], "metadata": {key: [...]}}
                                  on one line; then the pixels, 3 bytes each, row by row, image after image
    200             {"scores": [0.5, null, ...]}, one an image; null where an image has no score
    otherwise       {"detail": "what was wrong, in a sentence"}

What comes from outside is measured before anything is decoded: a small PNG may hold a very large picture.
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


class Scoring(NamedTuple):
    """What a reward is called with."""

    images: list[Image.Image]
    prompts: list[str]
    metadata: dict[str, list[Any]]


@dataclass(frozen=True)
class Limits:
    """The largest request that is taken."""

    body: int = 256 * 2**20
    """Bytes."""
    images: int = 256
    pixels: int = 64 * 2**20
    """Of all images together."""


class Malformed(ValueError):
    """A request that cannot be understood."""


class TooLarge(ValueError):
    """A request beyond the limits."""


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG", compress_level=1)
    return file.getvalue()


def encode(scoring: Scoring, form: Form) -> bytes:
    texts = {"prompts": scoring.prompts, "metadata": scoring.metadata}
    if form == "png":
        return json.dumps({"images": [base64.b64encode(png(i)).decode() for i in scoring.images], **texts}).encode()
    pictures = [image.convert("RGB") for image in scoring.images]
    header = json.dumps({"sizes": [image.size for image in pictures], **texts}).encode()
    return b"\n".join([header, b"".join(image.tobytes() for image in pictures)])


def decode(body: bytes, content_type: str, limits: Limits) -> Scoring:
    match content_type.partition(";")[0].strip().lower():
        case "application/json":
            pngs = _parse(_Pngs, body)
            _check_counts(len(pngs.images), pngs, limits)
            return Scoring(_decode_pngs(pngs.images, limits), pngs.prompts, pngs.metadata)
        case "application/octet-stream":
            header, _, data = body.partition(b"\n")
            pixels = _parse(_Pixels, header)
            _check_counts(len(pixels.sizes), pixels, limits)
            return Scoring(_decode_pixels(pixels.sizes, data, limits), pixels.prompts, pixels.metadata)
    raise Malformed(f"Content-Type {content_type!r}: must be {' or '.join(CONTENT_TYPES.values())}")


def encode_scores(scores: Sequence[float]) -> bytes:
    return json.dumps({"scores": [score if math.isfinite(score) else None for score in scores]}).encode()


def decode_scores(body: bytes) -> list[float]:
    """NaN where an image has no score."""
    scores = _parse(_Scores, body).scores
    return [math.nan if score is None else score for score in scores]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Texts(_Message):
    prompts: list[str]
    metadata: dict[str, list[Any]] = {}


class _Pngs(_Texts):
    images: list[str]


class _Pixels(_Texts):
    sizes: list[tuple[PositiveInt, PositiveInt]]


class _Scores(_Message):
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
        raise Malformed("no images: must be at least 1 in a request")
    if count > limits.images:
        raise TooLarge(f"{count} images: must be at most {limits.images} in a request")
    for name in ("images", "prompts"):
        if name in texts.metadata:
            raise Malformed(f"metadata.{name}: a column cannot have this name")
    columns = {f"metadata.{name}": values for name, values in texts.metadata.items()}
    for name, values in {"prompts": texts.prompts, **columns}.items():
        if len(values) != count:
            raise Malformed(f"{name}: {len(values)} values for {count} images: must be one each")


def _check_pixels(pixels: int, limits: Limits) -> None:
    if pixels > limits.pixels:
        raise TooLarge(f"{pixels} pixels: must be at most {limits.pixels} in a request")


def _decode_pngs(texts: list[str], limits: Limits) -> list[Image.Image]:
    images: list[Image.Image] = []
    total = 0
    for i, text in enumerate(texts):
        # Pillow raises errors of many kinds on broken files: all of them are the sender's.
        try:
            image = Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"])
        except Image.DecompressionBombError as error:
            raise TooLarge(f"images.{i}: {error}") from None
        except Exception as error:
            raise Malformed(f"images.{i}: no PNG in base64: {error}") from None
        total += image.width * image.height
        _check_pixels(total, limits)  # nothing but the header has been read
        try:
            images.append(image.convert("RGB"))
        except Exception as error:
            raise Malformed(f"images.{i}: a broken PNG: {error}") from None
    return images


def _decode_pixels(sizes: list[tuple[int, int]], pixels: bytes, limits: Limits) -> list[Image.Image]:
    lengths = [3 * width * height for width, height in sizes]
    _check_pixels(sum(lengths) // 3, limits)
    if len(pixels) != sum(lengths):
        raise Malformed(f"{len(pixels)} bytes of pixels: must be {sum(lengths)} for the sizes given")
    images, start = [], 0
    for size, length in zip(sizes, lengths, strict=True):
        images.append(Image.frombytes("RGB", size, pixels[start : start + length]))
        start += length
    return images
