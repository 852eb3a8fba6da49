"""Three iterations of a small run by however many processes there are: what comes out goes into one file.

torchrun ... train_together.py SECTIONS OUT MISSING_ABOVE
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from mixgrpo.parallel import distributed
from mixgrpo.parallel.sharding import whole
from mixgrpo.rewards.reward import Reward
from runs import small_trainer


def uneven(missing_above: float) -> Reward:
    """Brightness: equal for one prompt, so that its groups are skipped; missing for the bright images of another."""

    def score(image: Any, prompt: str) -> float:
        brightness = float(np.asarray(image).mean() / 255)
        if prompt == "CAT":
            return 0.5
        return math.nan if prompt == "a red circle" and brightness > missing_above else brightness

    return lambda images, prompts, **metadata: [score(*each) for each in zip(images, prompts, strict=True)]


def main() -> None:
    sections, out, missing_above = json.loads(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    with distributed.processes():
        trainer = small_trainer(uneven(missing_above), **sections)
        start = {f"start/{name}": whole(p.detach()).clone() for name, p in trainer.policy.weights.parameters.items()}
        lines = [trainer.iterate() for _ in range(3)]
        tensors = {name: whole(tensor.detach()) for name, tensor in trainer.snapshot().tensors.items()}
        sharded = distributed.gather(trainer.policy.sharded)
        if distributed.rank() == 0:
            save_file({name: tensor.contiguous() for name, tensor in {**start, **tensors}.items()}, out)
            metrics = [{name: value for name, value in line.items() if name != "seconds"} for line in lines]
            out.with_suffix(".json").write_text(json.dumps({"metrics": metrics, "sharded": sharded}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
