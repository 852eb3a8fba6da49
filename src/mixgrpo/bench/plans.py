"""What measurements of plans have in common: the plan, and a reward from which every group learns."""

import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

_numbers = itertools.count()


def planned(recipe: str, changes: Sequence[str], gpus: int, *options: str) -> dict[str, Any]:
    """What `mixgrpo plan` says of each GPU. In a process of its own: it registers a device without memory."""
    command = [sys.executable, "-m", "mixgrpo", "plan", recipe, *changes, "--gpus", str(gpus), *options, "--json"]
    plan = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    per_gpu: dict[str, Any] = plan["per_gpu"]
    return per_gpu


def differing(images: Sequence[Any], prompts: Sequence[str], **metadata: Any) -> list[float]:
    """Another score for each image, whatever it shows."""
    return [float(next(_numbers)) for _ in images]
