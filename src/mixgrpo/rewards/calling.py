"""Call a reward, whoever wrote it: by keyword, and with a check of what it returns."""

import asyncio
import inspect
import math
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from threading import Lock, Thread
from typing import Any

from PIL.Image import Image

from .reward import Reward

RESERVED = ("images", "prompts")
"""Names that no column of a prompt dataset may have."""
_starting = Lock()


def call_reward(
    reward: Reward, images: Sequence[Image], prompts: Sequence[str], metadata: Mapping[str, Sequence[Any]]
) -> list[float | None]:
    """One score per image: None if it has none, NaN or infinity if it could not be judged."""
    taken = _taken(reward, metadata)
    check_parameters(reward, taken)
    with _contained():
        returned = reward(images=images, prompts=prompts, **{name: metadata[name] for name in taken})
        if inspect.isawaitable(returned):
            returned = asyncio.run_coroutine_threadsafe(_result(returned), _event_loop()).result()
        return _scores(returned, len(images))


def _taken(reward: Reward, columns: Iterable[str]) -> list[str]:
    """The columns that the reward has a parameter for, or all of them if it takes `**metadata`."""
    columns = sorted(columns)
    for name in RESERVED:
        if name in columns:
            raise TypeError(
                f"the prompts have a column `{name}`: rename it, because rewards get something else under it"
            )
    parameters = inspect.signature(reward).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return [name for name in columns if takes_any or name in parameters]


def check_parameters(reward: Reward, columns: Iterable[str] | None = None) -> None:
    """Raises a TypeError if the reward does not take images, prompts and these columns by name, or requires more."""
    signature, names = inspect.signature(reward), [*RESERVED, *(columns or ())]
    try:
        # While the columns are not known, the reward may require any.
        bind = signature.bind_partial if columns is None else signature.bind
        bind(**dict.fromkeys(names))
    except TypeError as error:
        raise TypeError(
            f"its parameters are {signature}, but it is called with {', '.join(names)} by name ({error}): write it as "
            "(images, prompts, **metadata), where metadata are the columns of the prompts"
        ) from None


@contextmanager
def _contained() -> Iterator[None]:
    """sys.exit() and the like in a reward must end neither training nor a server."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise RuntimeError(f"it raised {type(error).__name__}: {error}") from error


async def _result(awaitable: Awaitable[Any]) -> Any:
    with _contained():
        return await awaitable


def _event_loop() -> asyncio.AbstractEventLoop:
    with _starting:
        return _started_event_loop()


@cache
def _started_event_loop() -> asyncio.AbstractEventLoop:
    """One for all coroutines, so that a client's connections outlast the call."""
    loop = asyncio.new_event_loop()
    Thread(target=loop.run_forever, name="coroutines of rewards", daemon=True).start()
    return loop


def _scores(returned: Any, count: int) -> list[float | None]:
    if isinstance(returned, Mapping | set | frozenset | str | bytes) or not isinstance(returned, Iterable):
        raise TypeError(f"it returned a {type(returned).__name__}, and must return a list with one score per image")
    scores = [_score(value) for value in returned]
    if len(scores) != count:
        raise ValueError(f"it returned {len(scores)} scores for {count} images, and must return one each")
    return scores


def _score(value: Any) -> float | None:
    if isinstance(value, str):
        raise TypeError(f"it returned {value!r} as a score, which is text and no number")
    return None if value is None else float(value)


def judged(score: float | None) -> bool:
    return score is not None and math.isfinite(score)
