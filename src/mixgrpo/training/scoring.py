"""Score images while the next ones are drawn: rewards on a thread pool, their answers checked, failed ones again."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from mixgrpo.data.prompts import Prompt
from mixgrpo.rewards.entry import ScoringConfig
from mixgrpo.rewards.reward import Reward


class RewardError(RuntimeError):
    """A reward that failed, with its name, what it was given and why."""


@dataclass(frozen=True)
class Scored:
    """What rewards said of some images, and what it took. Each by reward name."""

    values: dict[str, Tensor]
    """NaN: the score failed."""
    retried: dict[str, int]
    """How many images were asked for again, each time counted."""
    errors: dict[str, str]
    """Why the last score failed, where any did."""

    @property
    def failed(self) -> dict[str, int]:
        return {name: int(values.isnan().sum()) for name, values in self.values.items()}


class Scorer:
    """Collects the scores of a number of images, in the order of their submission. `beside` False: whoever submits
    waits for them.
    """

    def __init__(self, rewards: Mapping[str, Reward], settings: ScoringConfig, beside: bool = True) -> None:
        self._rewards, self._settings, self._beside = rewards, settings, beside
        self._pool = ThreadPoolExecutor(settings.threads, thread_name_prefix="reward")
        self._pending: list[Future[Scored]] = []

    def submit(self, images: Tensor, prompts: Sequence[Prompt]) -> None:
        """[N, 3, height, width] in [0, 1], with the prompt of each."""
        # Off the device on a thread: here it would wait for all that the device was told to do. But no arithmetic
        # there: for a second thread that computes OpenMP keeps a second team, and once there are more threads than
        # cores each small operation of the first takes two to three times as long, ever after. The pool begins its
        # jobs in order, so that no score waits for pictures that nobody is making.
        drawn = self._pool.submit(_pictures, _pixels(images))
        jobs = [
            self._pool.submit(_score, name, reward, drawn, prompts, self._settings)
            for name, reward in self._rewards.items()
        ]
        self._pending += jobs
        if not self._beside:
            wait(jobs)

    def collect(self) -> Scored:
        """Waits for all that was submitted."""
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


def stop_if_too_many_failed(scored: Scored, stop_above: float) -> None:
    for name, failed in scored.failed.items():
        count = len(scored.values[name])
        if failed > stop_above * count:
            raise RewardError(
                f"reward {name} has no score for {failed} of {count} images, and scoring.stop_above is {stop_above:g}; "
                f"the last: {scored.errors[name]}"
            )


def _score(
    name: str,
    reward: Reward,
    drawn: Future[list[Image.Image]],
    prompts: Sequence[Prompt],
    settings: ScoringConfig,
) -> Scored:
    pictures = drawn.result()
    values, retried, why = [math.nan] * len(pictures), 0, ""
    broken: Exception | None = None
    for attempt in range(1 + settings.retries):
        missing = [i for i, value in enumerate(values) if not math.isfinite(value)]
        if not missing:
            break
        retried += len(missing) if attempt else 0
        try:
            answers = _ask(reward, [pictures[i] for i in missing], [prompts[i] for i in missing])
        except Exception as error:  # whatever somebody's own code raises
            broken, why = error, f"{type(error).__name__}: {error}"
        else:
            broken, why = None, f"no number for {prompts[missing[-1]].text!r}"
            for i, answer in zip(missing, answers, strict=True):
                values[i] = answer
    if broken is not None and settings.on_error == "stop":
        raise RewardError(
            f"reward {name} failed on {len(missing)} images, the first for {prompts[missing[0]].text!r}: {why}"
        ) from broken
    scores = torch.tensor([value if math.isfinite(value) else math.nan for value in values])
    return Scored({name: scores}, {name: retried}, {name: why} if scores.isnan().any() else {})


def _ask(reward: Reward, pictures: list[Image.Image], prompts: Sequence[Prompt]) -> list[float]:
    columns = sorted({key for prompt in prompts for key in prompt.metadata})
    metadata = {key: [prompt.metadata.get(key) for prompt in prompts] for key in columns}
    values = [float(value) for value in reward(pictures, [prompt.text for prompt in prompts], **metadata)]
    if len(values) != len(pictures):
        raise ValueError(f"it gave {len(values)} scores for {len(pictures)} images, and must give one each")
    return values


def to_pil(images: Tensor) -> list[Image.Image]:
    return _pictures(_pixels(images))


def _pixels(images: Tensor) -> Tensor:
    return (images * 255).round().byte().permute(0, 2, 3, 1).contiguous()


def _pictures(pixels: Tensor) -> list[Image.Image]:
    return [Image.fromarray(picture) for picture in pixels.cpu().numpy()]
