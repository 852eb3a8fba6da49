"""The client of a reward server (`mixgrpo serve-reward`), on this machine or another."""

from collections.abc import Iterator
from typing import Any

from PIL.Image import Image
from pydantic import NonNegativeInt, PositiveFloat

from mixgrpo.rewards.reward import Checkable

from . import credentials
from .endpoints import Endpoints, Url
from .wire import CONTENT_TYPES, SCORE_PATH, VERSION_PATH, Form, Limits, ScoreRequest, decode_scores, encode

_CONNECTIONS = 64


def remote(
    *,
    url: Url,
    token_env: str | None = None,
    timeout: PositiveFloat = 60.0,
    retries: NonNegativeInt = 3,
    backoff: PositiveFloat = 1.0,
    form: Form = "raw",
) -> "Remote":
    """`token_env`: the environment variable with the server's token. `form`: the encoding of images; `raw` takes the
    least work, `png` the fewest bytes. `backoff`: seconds before the first retry, doubled with each further one.
    """
    endpoints = Endpoints(
        [url],
        SCORE_PATH,
        headers={} if token_env is None else {"Authorization": f"Bearer {credentials.from_environment(token_env)}"},
        timeout=timeout,
        retries=retries,
        backoff=backoff,
        connections=_CONNECTIONS,
        hint="Start the server with `mixgrpo serve-reward NAME --port PORT`, or raise `retries` and `timeout`.",
    )
    return Remote(endpoints, form, Limits())


class Remote(Checkable):
    def __init__(self, endpoints: Endpoints, form: Form, limits: Limits) -> None:
        """`limits`: those of the server."""
        self._endpoints, self._form, self._limits = endpoints, form, limits

    def check(self) -> None:
        self._endpoints.check(VERSION_PATH)

    def __call__(self, images: list[Image], prompts: list[str], **metadata: list[Any]) -> list[float]:
        """The score is NaN for images that the server returns no score for."""
        return [
            score
            for count, body in _bodies(ScoreRequest(images, prompts, metadata), self._form, self._limits)
            for score in self._scores(count, body)
        ]

    def _scores(self, count: int, body: bytes) -> list[float]:
        def parse(answer: bytes) -> list[float]:
            scores = decode_scores(answer)
            if len(scores) != count:
                raise ValueError(f"{len(scores)} scores for {count} images")
            return scores

        return self._endpoints.request(body, CONTENT_TYPES[self._form], parse)


def _bodies(request: ScoreRequest, form: Form, limits: Limits) -> Iterator[tuple[int, bytes]]:
    """The request with its number of images, in halves of halves until each is within the server's limits."""
    images, prompts, metadata = request
    pixels = sum(image.width * image.height for image in images)
    if len(images) == 1 or (len(images) <= limits.images and pixels <= limits.pixels):
        body = encode(request, form)
        if len(images) == 1 or len(body) <= limits.body:
            yield len(images), body
            return
    middle = len(images) // 2
    for half in (slice(None, middle), slice(middle, None)):
        columns = {key: values[half] for key, values in metadata.items()}
        yield from _bodies(ScoreRequest(images[half], prompts[half], columns), form, limits)
