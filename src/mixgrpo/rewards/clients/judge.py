"""Vision-language models as judges, behind any OpenAI-compatible endpoint: vLLM, SGLang or a hosted service.

An answer is not asked for again, not even one without a score: at temperature 0 it would be the same. Such an image
has no score, which is not a score of 0.
"""

import base64
import json
import logging
import math
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, NamedTuple

from PIL.Image import Image
from pydantic import BaseModel, Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from mixgrpo.rewards.reward import Checkable
from mixgrpo.rewards.workers import Workers

from . import credentials
from .answers import parse_score
from .endpoints import AllServersFailed, Endpoints, RequestRefused, Url
from .judge_templates import Template, find_template
from .rgb import to_rgb
from .wire import encode_png

_log = logging.getLogger(__name__)

_IMAGE_REFUSED = (400, 413, 422)  # prompt too long, image too large, content not allowed
_MAX_QUOTED = 200  # characters of an answer, in messages


def vlm_judge(
    *,
    urls: list[Url],
    model: str,
    template: str = "overall",
    scale: tuple[float, float] | None = None,
    api_key_env: str | None = None,
    concurrency: PositiveInt = 8,
    timeout: PositiveFloat = 120.0,
    retries: NonNegativeInt = 3,
    backoff: PositiveFloat = 1.0,
    max_tokens: PositiveInt = 512,
) -> "Judge":
    """A vision-language model behind an OpenAI-compatible endpoint, asked in the words of a template. `urls` usually
    end in /v1; requests go to them in rotation. `scale`: the template's worst and best score, which are mapped to 0 and
    1. `api_key_env`: the environment variable with the API key.
    """
    endpoints = Endpoints(
        urls,
        "/chat/completions",
        headers={} if api_key_env is None else {"Authorization": f"Bearer {credentials.from_environment(api_key_env)}"},
        timeout=timeout,
        retries=retries,
        backoff=backoff,
        connections=concurrency,
        hint=f"Start one, such as `vllm serve {model}`, or raise `retries` and `timeout`.",
    )
    return Judge(endpoints, model, find_template(template, scale), concurrency, max_tokens)


# CodeGoat24/UnifiedReward, served under the name UnifiedReward, with the prompt that it was trained on.
unifiedreward = partial(vlm_judge, model="UnifiedReward", template="unifiedreward", max_tokens=1024)
unifiedreward.__doc__ = "UnifiedReward behind an OpenAI-compatible endpoint: vlm-judge with its name and its questions."


class Judge(Checkable):
    def __init__(self, endpoints: Endpoints, model: str, template: Template, concurrency: int, max_tokens: int) -> None:
        self._endpoints, self._model, self._template = endpoints, model, template
        self._concurrency, self._max_tokens = concurrency, max_tokens
        self._workers = Workers(concurrency, "judge")

    def check(self) -> None:
        self._endpoints.check("/models")

    def __call__(self, images: list[Image], prompts: list[str], **metadata: list[Any]) -> list[float | None]:
        """The score is None for images that the judge gives no score for, and NaN for those that no server answered.
        Raises an error if no server answered at all.
        """
        futures = [self._workers.submit(self._judge, *pair) for pair in zip(images, prompts, strict=True)]
        verdicts: list[_Verdict | None] = []  # None: no server answered
        error: AllServersFailed | None = None
        try:
            for i, future in enumerate(futures):
                if i >= self._concurrency and not any(verdicts[-self._concurrency :]):
                    _cancel(futures[i:])  # the servers are gone
                try:
                    verdicts.append(future.result())
                except CancelledError:
                    verdicts.append(None)
                except AllServersFailed as failure:
                    verdicts.append(None)
                    error = failure
        finally:
            _cancel(futures)
        if error is not None and not any(verdicts):
            raise error
        if error is not None:
            _log.warning("%d of %d images: %s", verdicts.count(None), len(images), error)
        if failed := [verdict.why for verdict in verdicts if verdict is not None and verdict.score is None]:
            _log.warning("%s gave no score for %d of %d images: %s", self._model, len(failed), len(images), failed[-1])
        return [math.nan if verdict is None else verdict.score for verdict in verdicts]

    def _judge(self, image: Image, prompt: str) -> "_Verdict":
        body = self._request_body(image, prompt)
        try:
            choice = self._endpoints.request(body, "application/json", _first_choice)
        except RequestRefused as refusal:
            if refusal.status not in _IMAGE_REFUSED:
                raise
            return _Verdict(None, str(refusal))
        answer = choice.message.content or ""
        if choice.finish_reason == "length":
            return _Verdict(
                None, f"the answer was cut off at max_tokens = {self._max_tokens}: {answer[-_MAX_QUOTED:]!r}"
            )
        low, high = self._template.scale
        return _Verdict(parse_score(answer, low, high), f"no score from {low} to {high} in {answer[-_MAX_QUOTED:]!r}")

    def _request_body(self, image: Image, prompt: str) -> bytes:
        image_url = f"data:image/png;base64,{base64.b64encode(encode_png(to_rgb(image))).decode()}"
        content = [
            {"type": "image_url", "image_url": {"url": image_url}},
            {"type": "text", "text": self._template.fill(prompt)},
        ]
        request = {
            "model": self._model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "max_tokens": self._max_tokens,
        }
        return json.dumps(request).encode()


def _cancel(futures: Sequence[Future[Any]]) -> None:
    """Those that have not been sent."""
    for future in futures:
        future.cancel()


class _Verdict(NamedTuple):
    score: float | None
    why: str
    """Why there is no score, if there is none."""


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)


def _first_choice(body: bytes) -> _Choice:
    try:
        return _Completion.model_validate_json(body).choices[0]
    except ValidationError:
        raise ValueError(f"not a chat completion: {body[:_MAX_QUOTED].decode(errors='replace')!r}") from None
