"""Where metrics go in addition to metrics.jsonl: TensorBoard, Weights & Biases, trackio. Each is an extra of its name.

A tracker that cannot start stops the run at once; one that fails later is reported and no longer used. A resumed run
continues its record.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mixgrpo.recipe.schema import Recipe

from .folder import RunFolder


class Tracker(Protocol):
    def log(self, iteration: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    def __init__(self, recipe: Recipe, folder: RunFolder) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder.path / "tensorboard"))

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, iteration)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    def __init__(self, recipe: Recipe, folder: RunFolder) -> None:
        import wandb

        self._run = wandb.init(
            project="mixgrpo",
            id=folder.name,
            resume="allow",
            dir=folder.path,
            config=recipe.model_dump(mode="json"),
        )

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=iteration)

    def close(self) -> None:
        self._run.finish()


class Trackio:
    def __init__(self, recipe: Recipe, folder: RunFolder) -> None:
        import trackio

        self._trackio = trackio
        trackio.init(project="mixgrpo", name=folder.name, resume="allow", config=recipe.model_dump(mode="json"))

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        self._trackio.log({**values, "iteration": iteration})

    def close(self) -> None:
        self._trackio.finish()


TRACKERS: dict[str, Callable[[Recipe, RunFolder], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
}


def flat(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested numbers under joined names such as rewards/scenes and seconds/rollout."""
    numbers: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            numbers |= flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            numbers[prefix + name] = float(value)
    return numbers
