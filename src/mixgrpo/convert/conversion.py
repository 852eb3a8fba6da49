"""From a file's text to a recipe and the account of it."""

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from mixgrpo.recipe.errors import RecipeError
from mixgrpo.recipe.load import resolve
from mixgrpo.recipe.schema import Recipe

from . import dancegrpo, flow_grpo, mixgrpo, verl_omni
from .errors import ConvertError
from .ledger import Ledger, Line
from .python_config import read_python
from .words import Pairs, flags, overrides

Source = Literal["verl-omni", "mixgrpo", "dancegrpo", "flow-grpo"]
SOURCES = {"verl-omni": verl_omni, "mixgrpo": mixgrpo, "dancegrpo": dancegrpo, "flow-grpo": flow_grpo}

_OWN_FLAGS = ("--training_strategy", "--flow_grpo_sampling", "--reward_model", "--sample_strategy", "--iters_per_group")


@dataclass(frozen=True)
class Conversion:
    source: Source
    recipe: dict[str, Any]
    lines: list[Line]
    """Each key of the source, and what became of it."""
    missing: dict[str, str]
    """Keys of the recipe that stand for something the source does not say, and what to do."""


def convert(
    text: str, source: Source | None = None, function: str | None = None, gpus: int | None = None
) -> Conversion:
    """`source` None: by the look of the text. `function`: of a Python file with several configurations. `gpus`: the
    number of processes, where the source counts batches by them and does not give it.
    """
    source = source or recognised(text)
    return of_settings(_read(text, source, function), source, gpus)


def of_settings(settings: Pairs, source: Source, gpus: int | None = None) -> Conversion:
    """Of keys and values, in the order in which the source gives them."""
    given, repeated = _once(settings)
    if not given:
        raise ConvertError(f"no settings of {source} in it")
    module = SOURCES[source]
    ledger = Ledger(given, module.DEFAULTS, repeated)
    ledger.set("description", f"converted from {source}")
    module.convert(ledger, gpus)
    ledger.finish()
    if not ledger.recipe.get("model", {}).get("path"):
        ledger.needs("model.path", "black-forest-labs/FLUX.1-dev", "a diffusers folder, or a name on the hub")
    if "iterations" not in ledger.recipe:
        ledger.needs("iterations", Recipe.model_fields["iterations"].default, "how long to train is not in the file")
    try:
        resolve(ledger.recipe)
    except RecipeError as error:
        raise ConvertError(f"what is in it makes no recipe: {error}") from None
    recipe = {key: ledger.recipe[key] for key in Recipe.model_fields if key in ledger.recipe}
    return Conversion(source, recipe, ledger.account(), ledger.missing)


def recognised(text: str) -> Source:
    if re.search(r"actor_rollout_ref\.|verl_omni", text):
        return "verl-omni"
    if text.lstrip().startswith("{") or re.search(r"^\s*(config|sample|train|pretrained)\.[\w.]+\s*=", text, re.M):
        return "flow-grpo"
    if any(flag in text for flag in _OWN_FLAGS):
        return "mixgrpo"
    if re.search(r"--(sampling_steps|num_generations|use_hpsv2|timestep_fraction)\b", text):
        return "dancegrpo"
    launched = re.search(r"--config[ =](\S+\.py:\w+)", text)
    if launched:
        raise ConvertError(f"starts a trainer with {launched[1]}: convert that, with --gpus N")
    raise ConvertError(f"of no trainer that is known: give --from {', '.join(SOURCES)}")


def _read(text: str, source: Source, function: str | None) -> Pairs:
    if source == "verl-omni":
        return overrides(text)
    if source != "flow-grpo":
        return flags(text)
    if text.lstrip().startswith("{"):
        return [*_flat(_json(text)).items()]
    return [*read_python(text, function).items()]


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConvertError(f"not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise ConvertError("JSON of a configuration is an object")
    return value


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        nested = isinstance(item, dict) and key in ("sample", "train", "pretrained")
        flat |= _flat(item, f"{key}.") if nested else {f"{prefix}{key}": item}
    return flat


def _once(pairs: Pairs) -> tuple[dict[str, Any], Pairs]:
    """The last value of each key, which counts, and those before it."""
    last = dict(pairs)
    positions = {key: at for at, (key, _) in enumerate(pairs)}
    return last, [pair for at, pair in enumerate(pairs) if positions[pair[0]] != at]
