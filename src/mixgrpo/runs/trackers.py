"""Where metrics go in addition to metrics.jsonl: TensorBoard, Weights & Biases, trackio. Each is an extra of its name.

A tracker that cannot start stops the run at once; one that fails later is reported and no longer used. A resumed run
continues its record.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from mixgrpo.recipe.schema import Recipe

from .folder import RunFolder


class Tracker(Protocol):
    def log(self, iteration: int, values: Mapping[str, float]) -> None: ...

    def log_image(self, iteration: int, file: Path) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    def __init__(self, recipe: Recipe, folder: RunFolder) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder.path / "tensorboard"))

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, iteration)

    def log_image(self, iteration: int, file: Path) -> None:
        with Image.open(file) as image:
            self._writer.add_image("samples", np.asarray(image.convert("RGB")), iteration, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    def __init__(self, recipe: Recipe, folder: RunFolder) -> None:
        import wandb

        # The other variables of W&B (WANDB_ENTITY, WANDB_NAME, WANDB_TAGS, WANDB_MODE) hold as they are.
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "mixgrpo"),
            id=folder.name,
            resume="allow",
            dir=folder.path,
            config=recipe.model_dump(mode="json"),
        )

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=iteration)

    def log_image(self, iteration: int, file: Path) -> None:
        import wandb

        self._run.log({"samples": wandb.Image(str(file))}, step=iteration)

    def close(self) -> None:
        self._run.finish()


class Trackio:
    def __init__(self, recipe: Recipe, folder: RunFolder) -> None:
        import trackio

        self._trackio = trackio
        trackio.init(project="mixgrpo", name=folder.name, resume="allow", config=recipe.model_dump(mode="json"))

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        self._trackio.log({**values, "iteration": iteration})

    def log_image(self, iteration: int, file: Path) -> None:
        self._trackio.log({"samples": self._trackio.Image(str(file)), "iteration": iteration})

    def close(self) -> None:
        self._trackio.finish()


TRACKERS: dict[str, Callable[[Recipe, RunFolder], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
}


class Trackers:
    """All of a run's trackers. `say` prints a line."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._open: dict[str, Tracker] = {}

    @contextmanager
    def open(self, recipe: Recipe, folder: RunFolder) -> Iterator[None]:
        """They are closed on every way out."""
        for name in recipe.trackers:
            try:
                self._open[name] = TRACKERS[name](recipe, folder)
            except ImportError as error:
                raise ValueError(f"trackers: {name} is not installed: pip install 'mixgrpo[{name}]'") from error
        try:
            yield
        finally:
            for tracker in self._open.values():
                tracker.close()

    def log(self, metrics: Mapping[str, Any]) -> None:
        self._each(lambda tracker: tracker.log(metrics["iteration"], flat(metrics)))

    def log_evaluation(self, iteration: int, rewards: Mapping[str, Any]) -> None:
        self._each(lambda tracker: tracker.log(iteration, flat({"evaluation": rewards})))

    def log_samples(self, iteration: int, file: Path) -> None:
        self._each(lambda tracker: tracker.log_image(iteration, file))

    def _each(self, log: Callable[[Tracker], None]) -> None:
        for name in [*self._open]:
            try:
                log(self._open[name])
            except Exception as error:  # whatever an external service raises: training goes on without it
                self._say(f"tracker {name} failed and is not used any more: {error}")
                del self._open[name]


def flat(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested numbers under joined names such as rewards/scenes and seconds/rollout."""
    numbers: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            numbers |= flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            numbers[prefix + name] = float(value)
    return numbers
