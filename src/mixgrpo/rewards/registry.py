"""Rewards by name: what a name stands for, and what a recipe's entries become.

A name stands for a factory: its keyword-only parameters are the reward's options, it gives the reward. A factory
loads no weights; that happens at the first scoring.
"""

from collections.abc import Callable, Mapping
from typing import Any

from mixgrpo.scenes.rewards import scenes, scenes_aesthetic, scenes_strict, scenes_text

from .clients.judge import unifiedreward, vlm_judge
from .entry import RewardConfig
from .functions.geneval import geneval
from .functions.jpeg import jpeg_compressibility, jpeg_incompressibility
from .functions.ocr import ocr
from .functions.own import load_function
from .networks.aesthetic_predictor import aesthetic
from .networks.clipscore import clipscore
from .networks.hpsv2 import hpsv2
from .networks.hpsv3 import hpsv3
from .networks.imagereward import imagereward
from .networks.pickscore import pickscore
from .options import checked_options, nearest
from .reward import Reward

REWARDS: dict[str, Callable[..., Reward]] = {
    "aesthetic": aesthetic,
    "clipscore": clipscore,
    "geneval": geneval,
    "hpsv2": hpsv2,
    "hpsv3": hpsv3,
    "imagereward": imagereward,
    "jpeg-compressibility": jpeg_compressibility,
    "jpeg-incompressibility": jpeg_incompressibility,
    "ocr": ocr,
    "pickscore": pickscore,
    "scenes": scenes,
    "scenes-aesthetic": scenes_aesthetic,
    "scenes-strict": scenes_strict,
    "scenes-text": scenes_text,
    "unifiedreward": unifiedreward,
    "vlm-judge": vlm_judge,
}


def find_rewards(entries: Mapping[str, RewardConfig]) -> dict[str, Reward]:
    return {label: find_reward(label, entry) for label, entry in entries.items()}


def find_reward(label: str, entry: RewardConfig) -> Reward:
    """A reward that ships, one on a server, or `path/to/file.py:function`."""
    name = entry.reward or label
    factory = _factory(name, entry)
    if factory is not None:
        return factory(**_options(label, factory, entry))
    if ":" not in name:
        raise ValueError(f"rewards.{label}: {_unknown(name)}")
    function: Reward = load_function(name)
    return function


def check_options(label: str, entry: RewardConfig) -> None:
    """Does the reward of this entry take the options it gives? A ValueError says what is wrong."""
    name = entry.reward or label
    factory = _factory(name, entry)
    if factory is not None:
        _options(label, factory, entry)
    elif entry.options:
        why = "a function of your own has no options" if ":" in name else _unknown(name)
        raise ValueError(f"rewards.{label}.{next(iter(entry.options))}: {why}")


def _unknown(name: str) -> str:
    return f"there is no reward {name!r}; {nearest(name, REWARDS)}, and your own is path/to/file.py:function"


def _factory(name: str, entry: RewardConfig) -> Callable[..., Reward] | None:
    if entry.url is None:
        return REWARDS.get(name)
    from .clients.remote import remote

    return remote


def _options(label: str, factory: Callable[..., Reward], entry: RewardConfig) -> dict[str, Any]:
    return checked_options(label, factory, entry.options, also=RewardConfig.model_fields)
