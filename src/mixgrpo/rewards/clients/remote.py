"""The client of a reward server (`mixgrpo serve-reward`), on this machine or another."""

from typing import Any

from PIL.Image import Image
from pydantic import NonNegativeInt, PositiveFloat

from mixgrpo.rewards.reward import Reward

from . import credentials
from .endpoints import Endpoints
from .wire import CONTENT_TYPES, SCORE_PATH, Form, ScoreRequest, decode_scores, encode

_CONNECTIONS = 64


def remote(
    *,
    url: str,
    token_env: str | None = None,
    timeout: PositiveFloat = 60.0,
    retries: NonNegativeInt = 3,
    backoff: PositiveFloat = 1.0,
    form: Form = "raw",
) -> Reward:
    """`token_env`: the environment variable with the server's token. `form`: the encoding of images; `raw` takes the
    least work, `png` the fewest bytes. `backoff`: seconds before the first retry, doubled with each further one.
    """
    endpoints = Endpoints(
        [url.rstrip("/") + SCORE_PATH],
        headers={} if token_env is None else {"Authorization": f"Bearer {credentials.from_environment(token_env)}"},
        timeout=timeout,
        retries=retries,
        backoff=backoff,
        connections=_CONNECTIONS,
        hint="Start the server with `mixgrpo serve-reward NAME --port PORT`, or raise `retries` and `timeout`.",
    )
    return Remote(endpoints, form)


class Remote:
    def __init__(self, endpoints: Endpoints, form: Form) -> None:
        self._endpoints, self._form = endpoints, form

    def __call__(self, images: list[Image], prompts: list[str], **metadata: list[Any]) -> list[float]:
        """The score is NaN for images that the server returns no score for."""

        def parse(body: bytes) -> list[float]:
            scores = decode_scores(body)
            if len(scores) != len(images):
                raise ValueError(f"{len(scores)} scores for {len(images)} images")
            return scores

        body = encode(ScoreRequest(images, prompts, metadata), self._form)
        return self._endpoints.request(body, CONTENT_TYPES[self._form], parse)
