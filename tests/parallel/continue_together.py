"""Continue a small sharded run for some iterations by however many processes there are. What was found and what was
left are written whole.

    torchrun ... continue_together.py CHECKPOINTS ITERATIONS FOUND LEFT
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from mixgrpo.parallel import distributed
from mixgrpo.parallel.sharding import whole
from mixgrpo.runs.checkpoints import Checkpoints
from mixgrpo.training.trainer import Trainer
from runs import small_trainer


def write(trainer: Trainer, out: str) -> None:
    state = {name: whole(tensor.detach()).contiguous() for name, tensor in trainer.snapshot().tensors.items()}
    if distributed.rank() == 0:
        save_file(state, out)


def main() -> None:
    folder, iterations, found, left = sys.argv[1:]
    with distributed.processes():
        trainer = small_trainer(
            rollout={"prompts": 5, "group_size": 4, "micro_batch": 5},
            update={"learning_rate": 1e-3, "minibatches": 2, "ema_decay": 0.9},
            parallel={"shard": "full"},
        )
        checkpoints = Checkpoints(Path(folder))
        newest = checkpoints.newest().iteration
        if newest is not None:
            trainer.restore(checkpoints.load(newest, trainer.room))
            write(trainer, found)
        for _ in range(int(iterations)):
            trainer.iterate()
        checkpoints.save(trainer.snapshot(), {}, keep=9)
        write(trainer, left)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
