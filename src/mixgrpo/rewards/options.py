"""A reward's options are the keyword-only parameters of its factory: names, types, defaults. Nothing else is one."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ConfigDict, ValidationError, create_model
from pydantic_core import ErrorDetails

from mixgrpo.wording import sentence

_CHECKS = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())


def checked_options(
    label: str, factory: Callable[..., Any], given: Mapping[str, Any], also: Iterable[str] = ()
) -> dict[str, Any]:
    """Those given, as the factory's types, or a ValueError with a sentence for each that is wrong. `also`: further keys
    that may have been meant.
    """
    parameters = inspect.signature(factory).parameters
    fields: dict[str, Any] = {
        name: (option.annotation, ... if option.default is option.empty else option.default)
        for name, option in parameters.items()
    }
    model = create_model(label, __config__=_CHECKS, **fields)
    try:
        options = model.model_validate(dict(given))
    except ValidationError as error:
        known = [*parameters, *also]
        raise ValueError("\n".join(_sentence(label, detail, known) for detail in error.errors())) from None
    return {name: getattr(options, name) for name in options.model_fields_set}


def nearest(word: str, known: Iterable[str]) -> str:
    names = [*known]
    close = difflib.get_close_matches(word, names, n=1)
    return f"the nearest known one is {close[0]}" if close else f"known are {', '.join(names)}"


def _sentence(label: str, detail: ErrorDetails, known: list[str]) -> str:
    key = ".".join(["rewards", label, *map(str, detail["loc"])])
    if detail["type"] == "extra_forbidden":
        return f"{key} = {detail['input']!r}: unknown option; {nearest(str(detail['loc'][-1]), known)}"
    return sentence(key, detail)
