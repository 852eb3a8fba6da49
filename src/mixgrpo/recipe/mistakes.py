"""What is wrong with a recipe, in sentences: the key, the value, and what is allowed."""

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mixgrpo.section import alternatives, readable, sentence, shown

from .errors import RecipeError
from .keys import TAGGED, key_names
from .schema import Recipe
from .verl import VERL_NAMES

# What other trainers call some keys. Not accepted, but the error names ours.
_NAMES_ELSEWHERE = {
    "lr": "update.learning_rate",
    "beta": "objective.kl_weight",
    "epsilon": "objective.clip_range",
    "num_iterations": "update.minibatches",
    "num_generations": "rollout.group_size",
    "batch_size": "rollout.micro_batch",
    "max_steps": "iterations",
    "resolution": "model.height",
    "sampling_steps": "grid.steps",
}

_LONGEST = 100  # characters of a key that are compared with the known ones


def checked(data: Mapping[str, Any]) -> Recipe:
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        details = error.errors()
        if any(detail["loc"][:1] == ("model",) for detail in details):  # which decides whether these have a default
            details = [detail for detail in details if detail["loc"] not in (("prompts",), ("rewards",))]
        raise RecipeError("\n".join(_sentence(detail) for detail in details)) from None


def _sentence(detail: ErrorDetails) -> str:
    """One pydantic error in words."""
    if detail["type"] == "value_error":  # of a check of ours, perhaps of the whole recipe
        return str(detail["ctx"]["error"])
    section, *parts = detail["loc"]
    tag, kinds = TAGGED.get(str(section), ("", {}))
    chosen = parts[0] if parts and parts[0] in kinds else None
    path = [section, *(part for part in parts[chosen is not None :] if not isinstance(part, int))]
    key = readable(".".join(str(part) for part in path))
    given = shown(detail["input"])
    context = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            owners = [name for name, kind in kinds.items() if chosen and path[1] in kind.model_fields]
            if owners:
                return f"{key} = {given}: {section}.{tag} {chosen} has no such key; {alternatives(owners)} has it"
            return f"{key} = {given}: unknown key; {closest(key)}"
        case "missing" if key == "window.range":
            return f"{key} = {given}: must be [start, end], two step numbers"
        case "missing" if key == "prompts.evaluation":
            return (
                "prompts.evaluation is missing: name a file of held-out prompts, or write prompts: FILE to hold out "
                "one in ten of that file"
            )
        case "missing" if key in ("prompts", "rewards"):
            return f"{key} is missing: it has a default for model.path = tiny alone"
        case "union_tag_invalid":
            return f"{key}.{tag} = {shown(context['tag'])}: must be {alternatives(kinds)}"
        case "union_tag_not_found":
            return f"{key}.{tag} is missing: must be {alternatives(kinds)}"
        case "dict_type" if key == "rewards" and isinstance(detail["input"], str):
            return f"rewards = {given}: must be a section: write rewards.{detail['input']}=1"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{key} = {given}: must be a section with keys of its own"
        case _:
            return sentence(key, detail)


def closest(key: str) -> str:
    """The known key that was probably meant: by another trainer's name, by the whole key, or by its last part."""
    section, _, last = key.rpartition(".")
    if last in _NAMES_ELSEWHERE:
        return f"did you mean {_NAMES_ELSEWHERE[last]}?"
    known = {name: name for name in [*Recipe.model_fields, *key_names(), *VERL_NAMES]}
    last_parts = {name.rpartition(".")[2]: name for name in known}
    for word, names, similarity in ((key, known, 0.75), (last, last_parts, 0.6)):
        close = difflib.get_close_matches(word[:_LONGEST], names, n=1, cutoff=similarity)
        if close:
            return f"did you mean {names[close[0]]}?"
    siblings = [name for name in known if name.rpartition(".")[0] == section] if section else []
    return f"known are {', '.join(siblings or Recipe.model_fields)}"
