"""Vision-language models as judges, behind any OpenAI-compatible endpoint: vLLM, SGLang, a hosted one.

An answer without a score is asked for again, and if it stays so the image has no score: never a zero.
"""

import base64
import json
import logging
import math
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any, NamedTuple

from PIL.Image import Image
from pydantic import BaseModel, Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from mixgrpo.rewards.reward import Reward

from . import credentials
from .answers import score_in
from .endpoints import Endpoints, Refused
from .judge_templates import Template, find_template
from .wire import png

_log = logging.getLogger(__name__)

_ABOUT_THIS_IMAGE = (400, 413, 422)  # too long a prompt, too large an image, content that is not allowed
_SHOWN = 200  # characters of an answer


def vlm_judge(
    *,
    urls: list[str],
    model: str,
    template: str = "overall",
    scale: tuple[float, float] | None = None,
    api_key_env: str | None = None,
    concurrency: PositiveInt = 8,
    timeout: PositiveFloat = 120.0,
    retries: NonNegativeInt = 3,
    backoff: PositiveFloat = 1.0,
    max_tokens: PositiveInt = 512,
) -> Reward:
    """`urls` end in /v1 as a rule, and are asked in rotation. `scale`: the template's worst and best score, which
    become 0 and 1. `api_key_env` names the variable that holds the key.
    """
    endpoints = Endpoints(
        [url.rstrip("/") + "/chat/completions" for url in urls],
        headers={} if api_key_env is None else {"Authorization": f"Bearer {credentials.from_environment(api_key_env)}"},
        timeout=timeout,
        retries=retries,
        backoff=backoff,
        connections=concurrency,
        hint=f"Start one, such as `vllm serve {model}`, or raise `retries` and `timeout`.",
    )
    return Judge(endpoints, model, find_template(template, scale), concurrency, retries, max_tokens)


# CodeGoat24/UnifiedReward, served under that name: a judge with the question that it was trained on.
unifiedreward = partial(vlm_judge, model="UnifiedReward", template="unifiedreward", max_tokens=1024)


class Judge:
    def __init__(
        self, endpoints: Endpoints, model: str, template: Template, concurrency: int, retries: int, max_tokens: int
    ) -> None:
        self._endpoints, self._model, self._template = endpoints, model, template
        self._retries, self._max_tokens = retries, max_tokens
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="judge")

    def __call__(self, images: list[Image], prompts: list[str], **metadata: list[Any]) -> list[float]:
        """NaN where there is no score."""
        asked = [self._pool.submit(self._judge, *pair) for pair in zip(images, prompts, strict=True)]
        try:
            verdicts = [future.result() for future in asked]
        finally:
            for future in asked:  # after an error: what has not begun need not, and what has is not left behind
                future.cancel()
            wait(asked)
        if failed := [verdict.why for verdict in verdicts if math.isnan(verdict.score)]:
            _log.warning("%s gave no score for %d of %d images: %s", self._model, len(failed), len(images), failed[-1])
        return [verdict.score for verdict in verdicts]

    def _judge(self, image: Image, prompt: str) -> "_Verdict":
        body = self._question(image, prompt)
        why = ""
        for _ in range(1 + self._retries):
            try:
                choice = self._endpoints.ask(body, "application/json", _choice)
            except Refused as refusal:
                if refusal.status not in _ABOUT_THIS_IMAGE:
                    raise
                return _Verdict(math.nan, str(refusal))
            answer = choice.message.content or ""
            if choice.finish_reason == "length":
                why = f"the answer was cut off at max_tokens = {self._max_tokens}: {answer[-_SHOWN:]!r}"
            elif (score := score_in(answer, *self._template.scale)) is not None:
                return _Verdict(score)
            else:
                why = f"no score from {self._template.scale[0]} to {self._template.scale[1]} in {answer[-_SHOWN:]!r}"
        return _Verdict(math.nan, why)

    def _question(self, image: Image, prompt: str) -> bytes:
        picture = f"data:image/png;base64,{base64.b64encode(png(image)).decode()}"
        content = [
            {"type": "image_url", "image_url": {"url": picture}},
            {"type": "text", "text": self._template.ask(prompt)},
        ]
        question = {
            "model": self._model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "max_tokens": self._max_tokens,
        }
        return json.dumps(question).encode()


class _Verdict(NamedTuple):
    score: float
    why: str = ""
    """Why there is none, where it is NaN."""


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)


def _choice(body: bytes) -> _Choice:
    try:
        return _Completion.model_validate_json(body).choices[0]
    except ValidationError:
        raise ValueError(f"this is no chat completion: {body[:_SHOWN].decode(errors='replace')!r}") from None
