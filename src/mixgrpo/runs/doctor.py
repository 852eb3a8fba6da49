"""What of this machine and this installation a run would meet: looked at, not changed, and without the network.

Each part yields observations. `broken` is what cannot work as it is; `missing` is optional, with the command that gets
it. A part that fails itself is broken, and the others go on. Rewards look for their files through the hub's library,
which HF_HUB_OFFLINE=1 keeps to this disk; the command sets it.
"""

import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

State = Literal["ok", "missing", "broken"]

PACKAGE = "mixgrpo"
_DEVELOPMENT = {"test"}
"""Extras that a user has no need of."""
_IMPORTED = {"torch", "diffusers", "transformers", "peft"}
"""What is also imported: a build for another machine is installed and does not work."""
_OTHER_BUILD = "install the build of torch for this machine: https://pytorch.org/get-started/locally"
_LEAST_FREE = 2 * 2**30
"""Bytes of the disk. A run writes checkpoints."""


@dataclass(frozen=True)
class Observation:
    part: str
    what: str
    state: State
    detail: str
    fix: str = ""
    """The command, or the step, that mends it."""


def observations(self_test: bool = True) -> Iterator[Observation]:
    parts: dict[str, Callable[[], Iterator[Observation]]] = {
        "machine": machine,
        "packages": packages,
        "accelerators": accelerators,
        "extras": extras,
        "rewards": rewards,
        "models": models,
    }
    if self_test:
        parts["self-test"] = trained_once
    for part, look in parts.items():
        try:
            yield from look()
        except Exception as error:  # whatever it is: to say so is what this is for
            yield Observation(part, part, "broken", f"{type(error).__name__}: {_first_line(error)}")


def machine() -> Iterator[Observation]:
    import psutil

    yield Observation("machine", "Python", "ok", f"{platform.python_version()} on {platform.platform(terse=True)}")
    cores = psutil.cpu_count() or 1
    busy = cores * psutil.cpu_percent(interval=0.5) / 100
    yield Observation("machine", "cores", "ok", f"{cores}, of which {max(0.0, cores - busy):.1f} are free now")
    memory = psutil.virtual_memory()
    yield Observation("machine", "memory", "ok", f"{_gib(memory.total)}, of which {_gib(memory.available)} are free")
    disk = shutil.disk_usage(Path.cwd())
    enough = disk.free >= _LEAST_FREE
    yield Observation(
        "machine",
        "disk",
        "ok" if enough else "broken",
        f"{_gib(disk.free)} free in this folder",
        "" if enough else f"free {_gib(_LEAST_FREE)}, or work in another folder: runs write checkpoints",
    )


def packages() -> Iterator[Observation]:
    """Those that every run needs, as the package's own metadata lists them; torch, on which others build, first."""
    for requirement in sorted(_requirements(), key=lambda requirement: requirement.name != "torch"):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield _package(requirement)


def accelerators() -> Iterator[Observation]:
    import torch

    found = torch.accelerator.current_accelerator(check_available=True)
    if found is not None and found.type == "mps":
        yield Observation("accelerators", "GPU", "missing", "a Mac trains on its CPU: its GPU is not used")
    elif found is not None:
        library = torch.get_device_module(found)
        for index in range(torch.accelerator.device_count()):
            free, total = library.mem_get_info(index)
            detail = f"{library.get_device_name(index)}, {_gib(total)}, of which {_gib(free)} are free"
            yield Observation("accelerators", f"GPU {index}", "ok", detail)
    elif Path("/proc/driver/nvidia/version").exists():
        yield Observation(
            "accelerators",
            "GPU",
            "missing",
            f"the driver is there, but torch {torch.__version__} finds no GPU",
            _OTHER_BUILD,
        )
    else:
        yield Observation(
            "accelerators", "GPU", "missing", "none found: the tiny model trains on the CPU, the others need one"
        )


def extras() -> Iterator[Observation]:
    names = metadata.metadata(PACKAGE).get_all("Provides-Extra") or []
    for extra in sorted({*names} - _DEVELOPMENT):
        needed = [each for each in _requirements() if each.marker and _belongs(each, extra)]
        lacking = [
            f"{each.name} ({detail})" for each in needed for state, detail in [_installed(each)] if state != "ok"
        ]
        yield Observation(
            "extras",
            extra,
            "missing" if lacking else "ok",
            f"needs {', '.join(lacking)}" if lacking else ", ".join(each.name for each in needed),
            f"pip install '{PACKAGE}[{extra}]'" if lacking else "",
        )


def rewards() -> Iterator[Observation]:
    """Found with their files, and nothing of them loaded."""
    from mixgrpo.rewards.registry import REWARDS

    for name in REWARDS:
        yield _reward(name)


def models() -> Iterator[Observation]:
    import diffusers

    from mixgrpo.models.load import ADAPTERS

    for pipeline in ADAPTERS:
        try:
            getattr(diffusers, pipeline)
        except Exception as error:
            yield Observation("models", pipeline, "broken", _first_line(error), "pip install --upgrade diffusers")
        else:
            yield Observation("models", pipeline, "ok", "its pipeline imports")


def trained_once() -> Iterator[Observation]:
    """The tiny model: a group drawn and scored, and one update."""
    begin = time.perf_counter()
    from mixgrpo.data.prompts import prompts_of
    from mixgrpo.models.load import load_model
    from mixgrpo.parallel import distributed
    from mixgrpo.recipe.load import resolve
    from mixgrpo.rewards.registry import find_rewards
    from mixgrpo.training.policy import make_policy
    from mixgrpo.training.trainer import Trainer

    recipe = resolve(
        {
            "model": {"path": "tiny", "dtype": "float32"},
            "tune": "lora",
            "grid": {"steps": 6},
            "window": {"strategy": "frozen", "size": 2},
            "rollout": {"prompts": 1, "group_size": 4},
            "rewards": {"jpeg-compressibility": 1.0},
        }
    )
    device = distributed.device()
    policy = make_policy(load_model(recipe.model, device), recipe)
    trainer = Trainer(recipe, policy, find_rewards(recipe.rewards), prompts_of(["a red circle on a table"]))
    metrics = trainer.iterate()
    moved = metrics["grad_norm"] > 0
    seconds = time.perf_counter() - begin
    detail = f"the tiny model drew a group, scored it and made one update on {device} in {seconds:.1f} s"
    wrong = f"the update of the tiny model moved nothing (gradient norm {metrics['grad_norm']})"
    yield Observation("self-test", "one iteration", "ok" if moved else "broken", detail if moved else wrong)


def _package(requirement: Requirement) -> Observation:
    name = requirement.name
    state, detail = _installed(requirement)
    if state != "ok":
        return Observation("packages", name, "broken", detail, f"pip install '{name}{requirement.specifier}'")
    if name in _IMPORTED:
        try:
            import_module(name)
        except Exception as error:
            fix = _OTHER_BUILD if name == "torch" else f"pip install --force-reinstall --no-deps '{name}=={detail}'"
            return Observation("packages", name, "broken", f"{detail} does not import: {_first_line(error)}", fix)
    return Observation("packages", name, "ok", detail + (_torch_build() if name == "torch" else ""))


def _reward(name: str) -> Observation:
    from mixgrpo.rewards.entry import RewardConfig
    from mixgrpo.rewards.options import option_fields
    from mixgrpo.rewards.registry import factory_of, find_reward
    from mixgrpo.rewards.reward import Checkable

    try:
        fields = option_fields(factory_of(name))
        required = [option for option, (_, default) in fields.items() if default is ...]
        if required:
            return Observation("rewards", name, "ok", f"can run; needs the options {', '.join(required)}")
        reward = find_reward(name, RewardConfig())
        if isinstance(reward, Checkable):
            reward.check()
    except (ImportError, FileNotFoundError) as error:
        detail, command = what_is_missing(str(error))
        return Observation("rewards", name, "missing" if command else "broken", detail, command)
    except Exception as error:
        return Observation("rewards", name, "broken", f"{type(error).__name__}: {_first_line(error)}")
    return Observation("rewards", name, "ok", "can score images here")


def what_is_missing(message: str) -> tuple[str, str]:
    """From a reward's own error: in a few words, and the command that gets it."""
    weights = re.search(r"found no (\S+) there.*huggingface\.co/(\S+) and set", message, re.DOTALL)
    if weights:
        file, repository = weights.groups()
        one = "" if file.endswith(".json") else f" {file}"  # a configuration comes with its weights
        return (
            "its weights are not on this machine yet; a run with network fetches them",
            f"hf download {repository}{one}",
        )
    install = re.search(r"pip install (?:--\S+ )*(?:'[^']+'|\S+)", message)
    return (message.splitlines() or [""])[0], install[0] if install else ""


def _requirements() -> list[Requirement]:
    return [Requirement(line) for line in metadata.requires(PACKAGE) or []]


def _belongs(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _installed(requirement: Requirement) -> tuple[State, str]:
    try:
        version = metadata.version(canonicalize_name(requirement.name))
    except metadata.PackageNotFoundError:
        return "missing", "not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return "broken", f"{version}, needs {requirement.specifier}"
    return "ok", version


def _torch_build() -> str:
    import torch

    version: Any = torch.version
    if version.cuda:
        return f", built for CUDA {version.cuda}"
    return f", built for ROCm {version.hip}" if version.hip else ", built for CPUs"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
