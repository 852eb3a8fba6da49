"""The processes of a run as workers of a Ray cluster.

Ray Train places them, gives each an accelerator if the cluster has any, makes them one process group, and starts all of
them again when one is lost: as many as there is room for, down to a stated number.
"""

import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from . import distributed
from .local import ProcessEnded


class Workers(NamedTuple):
    fewest: int
    most: int

    @staticmethod
    def parse(text: str) -> "Workers":
        """`4`, or `2:4` for as many as there is room for."""
        fewest, _, most = text.partition(":")
        try:
            workers = Workers(int(fewest), int(most or fewest))
        except ValueError:
            workers = Workers(0, 0)
        if not 1 <= workers.fewest <= workers.most:
            raise ValueError(f"--workers {text}: must be a number such as 4, or the fewest and the most such as 2:4")
        return workers


def run_on_ray(work: Callable[[], None], address: str, workers: Workers, restarts: int, folder: Path) -> None:
    """`work` is done by every worker, and once more after each restart. `folder`: on a disk that all machines see."""
    try:
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
        from ray.train.v2._internal.exceptions import RayTrainError
        from ray.train.v2.api.exceptions import WorkerGroupError
    except ImportError as error:
        raise ImportError(f"--ray: {error}. Install it with: pip install 'mixgrpo[ray]'") from None
    try:
        ray.init(address, logging_level="WARNING")
    except ConnectionError as error:
        raise ConnectionError(f"--ray {address}: {error}. Start a cluster with: ray start --head") from None
    own = folder.parent / f".ray-{secrets.token_hex(3)}"  # beside the run, which may turn out not to begin
    try:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        _check_room(ray.cluster_resources(), workers)
        trainer = TorchTrainer(
            _worker,
            train_loop_config={"work": work},
            torch_config=TorchConfig("cpu:gloo,cuda:nccl" if gpus else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=workers.most if workers.fewest == workers.most else (workers.fewest, workers.most),
                use_gpu=gpus > 0,
            ),
            run_config=RunConfig(
                name=own.name,
                storage_path=str(own.parent.resolve()),
                failure_config=FailureConfig(max_failures=restarts),
            ),
        )
        try:
            trainer.fit()
        except WorkerGroupError as failed:
            raise _first(failed.worker_failures, RayTrainError) from None
    finally:
        ray.shutdown()
        shutil.rmtree(own, ignore_errors=True)


def _worker(config: dict[str, Any]) -> None:
    with distributed.processes():
        config["work"]()


def _check_room(resources: dict[str, float], workers: Workers) -> None:
    """Ray would wait for more machines, and say nothing for a while."""
    kind = "GPU" if resources.get("GPU") else "CPU"
    there = int(resources.get(kind, 0))
    if there < workers.fewest:
        raise ValueError(f"--workers {workers.fewest}: the cluster has {there} {kind}s, and each worker takes one")


def _first(failures: dict[int, Exception], of_ray: type[Exception]) -> Exception:
    """That of which the others are consequences: a worker that was lost, or what one of them raised."""
    raised = [getattr(failure, "_base_exc", failure) for failure in failures.values()]  # Ray wraps it
    if any(isinstance(error, of_ray) for error in raised):
        return ProcessEnded("a worker was lost. The last checkpoint stays: go on with --continue, and allow --restarts")
    own = [error for error in raised if not isinstance(error, distributed.AnotherFailedFirst)]
    return (own or raised)[0]
