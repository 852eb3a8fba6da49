"""Score images while the next ones are drawn: rewards run on a thread pool, and failed scores are retried."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import BoundedSemaphore

import torch
from PIL import Image
from torch import Tensor

from mixgrpo.data.prompts import Prompt
from mixgrpo.recipe.sections import ScoringConfig
from mixgrpo.rewards.reward import Reward

_WAITING_BATCHES = 16
"""Micro-batches that may wait for their scores before drawing pauses: what bounds the memory."""


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
        self._pool = ThreadPoolExecutor(settings.threads, thread_name_prefix="reward")
        self._room = BoundedSemaphore(_WAITING_BATCHES)
        self._pending: list[Future[Scored]] = []

    def submit(self, images: Tensor, prompts: Sequence[Prompt]) -> None:
        """Images [N, frames, 3, height, width] in [0, 1], with the prompt of each. Waits if too many are unscored."""
        for future in self._pending:
            if future.done() and (error := future.exception()) is not None:
                raise error
        self._room.acquire()
        # The copy off the device runs on a thread: here it would wait for everything queued on the device. The
        # arithmetic stays here: OpenMP keeps a second team of threads for a second thread that computes, and with more
        # threads than cores every small operation of the first then takes two to three times as long, for good. The
        # pool starts its jobs in order, so no score waits for images that nobody is converting.
        frames = self._pool.submit(_pictures, _bytes(images.flatten(0, 1)))
        jobs = [
            self._pool.submit(_score, name, reward, frames, prompts, self._settings)
            for name, reward in self._rewards.items()
        ]
        self._pending += jobs
        (jobs[-1] if jobs else frames).add_done_callback(lambda _: self._room.release())
        if not self._overlap:
            wait(jobs)

    def collect(self) -> Scored:
        """Waits for everything that was submitted."""
        pending, self._pending = self._pending, []
        return merged([future.result() for future in pending])


def merged(parts: Sequence[Scored]) -> Scored:
    """Scores of different images, or by different rewards, in their order."""
    names = dict.fromkeys(name for part in parts for name in part.values)
    return Scored(
        {name: torch.cat([part.values[name] for part in parts if name in part.values]) for name in names},
        {name: sum(part.retried.get(name, 0) for part in parts) for name in names},
        {name: why for part in parts for name, why in part.errors.items()},
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
    values, retried, why = [math.nan] * len(pictures), 0, ""
    error: Exception | None = None
    for attempt in range(1 + settings.retries):
        missing = [i for i, value in enumerate(values) if not math.isfinite(value)]
        if not missing:
            break
        retried += len(missing) if attempt else 0
        try:
            answers = _call(reward, [pictures[i] for i in missing], [prompt_of[i] for i in missing])
        except Exception as raised:  # whatever a user's own code raises
            error, why = raised, f"{type(raised).__name__}: {raised}"
        else:
            error, why = None, f"no number for {prompt_of[missing[-1]].text!r}"
            for i, answer in zip(missing, answers, strict=True):
                values[i] = answer
    if error is not None and settings.on_error == "stop":
        raise RewardError(
            f"reward {name} failed on {len(missing)} images, the first for {prompt_of[missing[0]].text!r}: {why}"
        ) from error
    of_frames = torch.tensor([value if math.isfinite(value) else math.nan for value in values])
    scores = of_frames.view(len(prompts), num_frames).mean(1)
    return Scored({name: scores}, {name: retried}, {name: why} if scores.isnan().any() else {})


def _call(reward: Reward, pictures: list[Image.Image], prompts: Sequence[Prompt]) -> list[float]:
    columns = sorted({key for prompt in prompts for key in prompt.metadata})
    metadata = {key: [prompt.metadata.get(key) for prompt in prompts] for key in columns}
    values = [float(value) for value in reward(pictures, [prompt.text for prompt in prompts], **metadata)]
    if len(values) != len(pictures):
        raise ValueError(f"it returned {len(values)} scores for {len(pictures)} images, and must return one each")
    return values


def to_pil(images: Tensor) -> list[Image.Image]:
    """Images [N, 3, height, width] in [0, 1]."""
    return _pictures(_bytes(images))


def _bytes(images: Tensor) -> Tensor:
    return (images * 255).round().byte().permute(0, 2, 3, 1).contiguous()


def _pictures(pixels: Tensor) -> list[Image.Image]:
    return [Image.fromarray(picture) for picture in pixels.cpu().numpy()]
