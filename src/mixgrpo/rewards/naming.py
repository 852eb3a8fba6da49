"""Names for rewards that are given as Python objects, and where they can be found again."""

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .reward import PYTHON, Reward

Given = str | Reward


def named(rewards: Given | Sequence[Given] | Mapping[str, Given]) -> dict[str, Given]:
    """One reward or many by name: shipped names as they are, callables by their own name."""
    if isinstance(rewards, Mapping):
        return dict(rewards)
    many = rewards if isinstance(rewards, Sequence) and not isinstance(rewards, str) else [rewards]
    result: dict[str, Given] = {}
    for reward in many:
        name = reward if isinstance(reward, str) else name_of(reward)
        if name in result:
            raise ValueError(
                f"reward_funcs: {result[name]!r} and {reward!r} are both called {name}; give names of your own, as in "
                f"reward_funcs={{'{name}': ..., '{name}_2': ...}}"
            )
        result[name] = reward
    if not result:
        raise ValueError("reward_funcs is empty: give at least one reward")
    return result


def name_of(reward: Callable[..., Any]) -> str:
    """A function's name, a partial's function's, or an object's class in snake case."""
    if isinstance(reward, functools.partial):
        return name_of(reward.func)
    if inspect.isroutine(reward):
        return reward.__name__.replace("<lambda>", "lambda")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(reward).__name__).lower()


def reference_to(reward: Given) -> str:
    """`file.py:function` for a function that can be loaded again without running a script; otherwise `python`."""
    if isinstance(reward, str):
        return reward
    if not inspect.isfunction(reward) or "." in reward.__qualname__ or reward.__name__ == "<lambda>":
        return PYTHON
    file = inspect.getsourcefile(reward)
    return PYTHON if reward.__module__ == "__main__" or file is None else f"{file}:{reward.__name__}"
