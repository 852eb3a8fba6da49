"""The entry of each name: keys and sections of a recipe, metrics, findings of the diagnosis, rewards."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

from mixgrpo.recipe.keys import Key, keys, kinds_of, sections
from mixgrpo.recipe.type_words import as_yaml, in_words
from mixgrpo.rewards.options import option_fields
from mixgrpo.rewards.registry import REWARDS, factory_of
from mixgrpo.runs.diagnosis import FINDINGS
from mixgrpo.section import one_line
from mixgrpo.training.meanings import METRICS


@dataclass(frozen=True)
class Entry:
    name: str
    what: str
    """The kind of thing: `a key of a recipe`, `a metric`."""
    meaning: str
    details: tuple[tuple[str, str], ...] = ()
    """Further lines, each with what it is about: `default`, `4`."""


def entries() -> list[Entry]:
    """A name may have several: `objective.weighting` has a default of its own in each objective."""
    known = keys()
    return [
        *map(of_key, known),
        *(_of_section(name, meaning, known) for name, meaning in sections().items()),
        *(Entry(name, "a metric", meaning) for name, meaning in METRICS.items()),
        *(Entry(name, "a finding", one_line(inspect.getdoc(check))) for name, check in FINDINGS.items()),
        *map(of_reward, REWARDS),
    ]


def of_key(key: Key) -> Entry:
    details = [("takes", key.type), ("default", key.default or "none: it must be given")]
    if key.kinds:
        details.append(("only with", ", ".join(key.kinds)))
    return Entry(key.name, "a key of a recipe", key.meaning, tuple(details))


def of_reward(name: str) -> Entry:
    """Its options are keys beside `weight`: `rewards.NAME.OPTION=VALUE`."""
    factory = factory_of(name)
    details = [
        (option, in_words(kind) + ("" if default in (..., None) else f"; default {as_yaml(default)}"))
        for option, (kind, default) in option_fields(factory).items()
    ]
    return Entry(name, "a reward", one_line(inspect.getdoc(factory)), tuple(details))


def _of_section(name: str, meaning: str, known: Sequence[Key]) -> Entry:
    kinds = [(kind, what) for kind, what in kinds_of(name).items() if what]
    own = dict.fromkeys(key.name for key in known if key.name.startswith(f"{name}."))
    return Entry(name, "a section of a recipe", meaning, (*kinds, ("keys", ", ".join(own))))
