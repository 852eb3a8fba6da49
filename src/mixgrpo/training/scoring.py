"""Score images while the next ones are drawn: rewards run on a thread pool, and failed scores are retried."""

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mixgrpo.data.prompts import Prompt
from mixgrpo.parallel import distributed
from mixgrpo.recipe.sections import ScoringConfig
from mixgrpo.rewards.calling import call_reward, judged
from mixgrpo.rewards.reward import Reward
from mixgrpo.rewards.user_frames import user_frames
from mixgrpo.rewards.workers import Workers

_WAITING_BATCHES = 16
"""Micro-batches that may wait for their scores before drawing pauses: what bounds the memory."""
_LASTING = (FileNotFoundError, PermissionError)
"""Errors of the operating system that no further call heals. Of the others, most come from the network."""


class RewardError(RuntimeError):
    """A reward that failed, with its name, what it was given and why."""


@dataclass(frozen=True)
class Scored:
    """The scores of some images, each by reward name."""

    values: dict[str, Tensor]
    """NaN: the score failed."""
    retried: dict[str, int]
    """Number of retries, summed over images (of videos: over frames)."""
    errors: dict[str, str]
    """The last error, for rewards whose scores failed."""

    @property
    def failed(self) -> dict[str, int]:
        return {name: int(values.isnan().sum()) for name, values in self.values.items()}


class Scorer:
    """Collects the scores of a number of images, in the order of their submission. `overlap` False: `submit` waits for
    the scores.
    """

    def __init__(self, rewards: Mapping[str, Reward], settings: ScoringConfig, overlap: bool = True) -> None:
        self._rewards, self._settings, self._overlap = rewards, settings, overlap
        self._workers = Workers(settings.threads, "reward")
        self._room = BoundedSemaphore(_WAITING_BATCHES)
        self._pending: list[Future[Scored]] = []

    def submit(self, images: Tensor, prompts: Sequence[Prompt]) -> None:
        """Images [N, frames, 3, height, width] in [0, 1], with the prompt of each. Waits if too many are unscored."""
        with self._dropping_the_rest_on_error():
            for future in self._pending:
                if future.done():
                    future.result()
        self._room.acquire()
        # The copy off the device runs on a thread: here it would wait for everything queued on the device. The
        # arithmetic stays here: OpenMP keeps a second team of threads for a second thread that computes, and with more
        # threads than cores every small operation of the first then takes two to three times as long, for good. The
        # pool starts its jobs in order, so no score waits for images that nobody is converting.
        frames = self._workers.submit(_pictures, _bytes(images.flatten(0, 1)))
        jobs = [
            self._workers.submit(_score, name, reward, frames, prompts, self._settings)
            for name, reward in self._rewards.items()
        ]
        self._pending += jobs
        (jobs[-1] if jobs else frames).add_done_callback(lambda _: self._room.release())
        if not self._overlap:
            wait(jobs)

    def collect(self) -> Scored:
        """Waits for everything that was submitted, or for the first error."""
        with self._dropping_the_rest_on_error():
            for future in wait(self._pending, return_when=FIRST_EXCEPTION).done:
                future.result()
        pending, self._pending = self._pending, []
        return merged([future.result() for future in pending])

    def close(self) -> None:
        """No score is waited for any more, not even for those that are being computed."""
        self._workers.close()

    @contextmanager
    def _dropping_the_rest_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:  # also Ctrl-C
            for future in self._pending:
                future.cancel()
            self._pending = []
            raise


def merged(parts: Sequence[Scored]) -> Scored:
    """Scores of different images, or by different rewards, in their order."""
    names = dict.fromkeys(name for part in parts for name in part.values)
    return Scored(
        {name: torch.cat([part.values[name] for part in parts if name in part.values]) for name in names},
        {name: sum(part.retried.get(name, 0) for part in parts) for name in names},
        {name: why for part in parts for name, why in part.errors.items()},
    )


def of_all_ranks(scored: Scored, groups: int) -> Scored:
    """Every rank's scores, in the order of the groups. Words are sent only if there is something to say."""
    names = [*scored.values]
    table = distributed.gather_rows(torch.stack([scored.values[name] for name in names], dim=1), groups)
    retried = torch.tensor([scored.retried[name] for name in names])
    distributed.sum_tensors([retried])
    said = distributed.gather(scored.errors) if table.isnan().any() else []
    return Scored(
        {name: table[:, number] for number, name in enumerate(names)},
        {name: int(count) for name, count in zip(names, retried, strict=True)},
        {name: why for errors in said for name, why in errors.items()},
    )


def stop_if_too_many_failed(scored: Scored, max_failed_fraction: float) -> None:
    for name, failed in scored.failed.items():
        count = len(scored.values[name])
        if failed > max_failed_fraction * count:
            raise RewardError(
                f"reward {name} has no score for {failed} of {count} images, more than "
                f"scoring.max_failed_fraction = {max_failed_fraction:g} allows; the last error: {scored.errors[name]}"
            )


def _score(
    name: str,
    reward: Reward,
    converted: Future[list[Image.Image]],
    prompts: Sequence[Prompt],
    settings: ScoringConfig,
) -> Scored:
    """One score per prompt: the mean over its frames."""
    pictures = converted.result()
    num_frames = len(pictures) // len(prompts)
    prompt_of = [prompt for prompt in prompts for _ in range(num_frames)]
    asked = _ask(reward, pictures, prompt_of, settings.retries)
    if asked.error is not None and settings.on_error == "stop":
        missing = asked.unanswered
        raise RewardError(
            f"reward {name} failed on {len(missing)} images, the first for {prompt_of[missing[0]].text!r}: "
            + "\n".join([_sentence(asked.error), *user_frames(asked.error)])
        ) from asked.error
    of_frames = torch.tensor([value if judged(value) else math.nan for value in asked.values])
    scores = of_frames.view(len(prompts), num_frames).mean(1)
    errors = {}
    for prompt, value in zip(prompt_of, asked.values, strict=True):
        if not judged(value):
            errors[name] = f"no number for {prompt.text!r}" if asked.error is None else _sentence(asked.error)
    return Scored({name: scores}, {name: asked.retried}, errors)


@dataclass
class _Asked:
    values: list[float | None]
    retried: int = 0
    error: Exception | None = None
    """Of the last call."""

    @property
    def unanswered(self) -> list[int]:
        """The images that may be asked for again: None is an answer."""
        return [i for i, value in enumerate(self.values) if value is not None and not math.isfinite(value)]


def _ask(reward: Reward, pictures: Sequence[Image.Image], prompts: Sequence[Prompt], retries: int) -> _Asked:
    asked = _Asked([math.nan] * len(pictures))
    for attempt in range(1 + retries):
        missing = asked.unanswered
        if not missing:
            break
        asked.retried += len(missing) if attempt else 0
        texts, metadata = [prompts[i].text for i in missing], _metadata([prompts[i] for i in missing])
        try:
            answers = call_reward(reward, [pictures[i] for i in missing], texts, metadata)
        except Exception as error:  # whatever a user's own code raises
            asked.error = error
            if not isinstance(error, OSError) or isinstance(error, _LASTING):
                break
        else:
            asked.error = None
            for i, answer in zip(missing, answers, strict=True):
                asked.values[i] = answer
    return asked


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _metadata(prompts: Sequence[Prompt]) -> dict[str, list[Any]]:
    columns = sorted({key for prompt in prompts for key in prompt.metadata})
    return {key: [prompt.metadata.get(key) for prompt in prompts] for key in columns}


def to_pil(images: Tensor) -> list[Image.Image]:
    """Images [N, 3, height, width] in [0, 1]."""
    return _pictures(_bytes(images))


def _bytes(images: Tensor) -> Tensor:
    return (images * 255).round().byte().permute(0, 2, 3, 1).contiguous()


def _pictures(pixels: Tensor) -> list[Image.Image]:
    return [Image.fromarray(picture) for picture in pixels.cpu().numpy()]
