"""Three iterations of a small run by however many processes there are: what comes out goes into one file.

torchrun ... train_together.py SECTIONS OUT
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from mixgrpo.parallel import distributed
from mixgrpo.parallel.sharding import whole
from runs import small_trainer


def uneven(images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
    """Equal for one prompt, so that its groups are skipped; missing for some images of another."""
    scores = [float(np.asarray(image).mean() / 255) for image in images]
    return [
        0.5 if prompt == "CAT" else float("nan") if prompt == "a red circle" and score > 0.475 else score
        for prompt, score in zip(prompts, scores, strict=True)
    ]


def main() -> None:
    sections, out = json.loads(sys.argv[1]), Path(sys.argv[2])
    with distributed.processes():
        trainer = small_trainer(uneven, **sections)
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
