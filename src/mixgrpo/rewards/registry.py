"""Rewards by name.

A name stands for a factory, `module:function`, which is imported when the reward is looked up. The factory's
keyword-only parameters are the reward's options. It returns the reward without loading any weights.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from mixgrpo.section import readable, suggestion

from .calling import check_parameters
from .entry import RewardConfig
from .functions.user_function import load_function
from .options import checked_options
from .reward import PYTHON, Checkable, Reward

REWARDS: dict[str, str] = {
    "aesthetic": "mixgrpo.rewards.networks.aesthetic_predictor:aesthetic",
    "clipscore": "mixgrpo.rewards.networks.clipscore:clipscore",
    "geneval": "mixgrpo.rewards.functions.geneval:geneval",
    "human": "mixgrpo.rewards.human.reward:human",
    "hpsv2": "mixgrpo.rewards.networks.hpsv2:hpsv2",
    "hpsv3": "mixgrpo.rewards.networks.hpsv3:hpsv3",
    "imagereward": "mixgrpo.rewards.networks.imagereward:imagereward",
    "jpeg-compressibility": "mixgrpo.rewards.functions.jpeg:jpeg_compressibility",
    "jpeg-incompressibility": "mixgrpo.rewards.functions.jpeg:jpeg_incompressibility",
    "ocr": "mixgrpo.rewards.functions.ocr:ocr",
    "pickscore": "mixgrpo.rewards.networks.pickscore:pickscore",
    "scenes": "mixgrpo.scenes.rewards:scenes",
    "scenes-aesthetic": "mixgrpo.scenes.rewards:scenes_aesthetic",
    "scenes-strict": "mixgrpo.scenes.rewards:scenes_strict",
    "scenes-text": "mixgrpo.scenes.rewards:scenes_text",
    "unifiedreward": "mixgrpo.rewards.clients.judge:unifiedreward",
    "vlm-judge": "mixgrpo.rewards.clients.judge:vlm_judge",
}
_INTERACTIVE = frozenset({"human"})
_REMOTE = "mixgrpo.rewards.clients.remote:remote"


def find_rewards(entries: Mapping[str, RewardConfig]) -> dict[str, Reward]:
    return {label: find_reward(label, entry) for label, entry in entries.items()}


def check_rewards(entries: Mapping[str, RewardConfig]) -> dict[str, Reward]:
    """Finds the rewards, and their weights and servers as well: before a model is loaded, which takes much longer."""
    rewards = find_rewards(entries)
    for reward in rewards.values():
        if isinstance(reward, Checkable):
            reward.check()
    return rewards


def find_reward(label: str, entry: RewardConfig) -> Reward:
    """A built-in reward, the client of a reward server, or a user's function `path/to/file.py:function`."""
    name = entry.reward or label
    factory = _factory(name, entry)
    if factory is not None:
        return factory(**_options(label, factory, entry))
    if name == PYTHON:
        raise ValueError(
            f"rewards.{label} was given as a Python object: continue this run in Python, with "
            "MixGRPOTrainer(...).train(resume=True)"
        )
    if ":" not in name:
        raise ValueError(f"rewards.{label}: {_unknown(name)}")
    function: Reward = load_function(name)
    try:
        check_parameters(function)
    except TypeError as error:
        raise ValueError(f"rewards.{label}: {error}") from None
    return function


def check_options(label: str, entry: RewardConfig) -> None:
    """Raises a ValueError if the entry names no reward or has options that it does not take. Imports no torch."""
    name = entry.reward or label
    path, colon, function = name.rpartition(":")
    if not label or not label.isprintable() or not function or (colon and not path):
        raise ValueError(f"rewards.{readable(label)}: a reward is a name, or a function of your own, file.py:function")
    factory = _factory(name, entry)
    if factory is not None:
        _options(label, factory, entry)
    elif entry.options:
        why = "a function of your own takes no options" if ":" in name else _unknown(name)
        raise ValueError(f"rewards.{label}.{next(iter(entry.options))}: {why}")


def _unknown(name: str) -> str:
    return (
        f"there is no reward {name!r}; {suggestion(name, REWARDS)} "
        "(a function of your own is written path/to/file.py:function)"
    )


def asks_somebody(entries: Mapping[str, RewardConfig]) -> bool:
    """Then one process alone draws."""
    return any((entry.reward or label) in _INTERACTIVE and entry.url is None for label, entry in entries.items())


def factory_of(name: str) -> Callable[..., Reward]:
    """Of a reward that has a name here."""
    return _imported(REWARDS[name])


def _factory(name: str, entry: RewardConfig) -> Callable[..., Reward] | None:
    reference = REWARDS.get(name) if entry.url is None else _REMOTE
    return None if reference is None else _imported(reference)


def _imported(reference: str) -> Callable[..., Reward]:
    module, _, function = reference.partition(":")
    factory: Callable[..., Reward] = getattr(import_module(module), function)
    return factory


def _options(label: str, factory: Callable[..., Reward], entry: RewardConfig) -> dict[str, Any]:
    return checked_options(label, factory, entry.options, also=RewardConfig.model_fields)
