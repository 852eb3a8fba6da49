"""The options of a reward are the keyword-only parameters of its factory: names, types and defaults."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model
from pydantic_core import ErrorDetails

from mixgrpo.section import sentence, suggestion

_CHECKS = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())


def checked_options(
    label: str, factory: Callable[..., Any], given: Mapping[str, Any], also: Iterable[str] = ()
) -> dict[str, Any]:
    """The given options, converted to the factory's types. Raises a ValueError with one sentence per wrong option.
    `also`: further keys that may be suggested for a misspelt option.
    """
    fields = option_fields(factory)
    model = create_model(label, __config__=_CHECKS, **fields)
    try:
        options = model.model_validate(dict(given))
    except ValidationError as error:
        known = [*fields, *also]
        raise ValueError("\n".join(_sentence(label, detail, known) for detail in error.errors())) from None
    return {name: getattr(options, name) for name in options.model_fields_set}


def option_fields(factory: Callable[..., Any]) -> dict[str, Any]:
    """Option name -> (type, default), in the form of pydantic's `create_model`. A parameter `**options:
    Unpack[SomeTypedDict]` stands for the keys of that TypedDict, all of them optional.
    """
    fields: dict[str, Any] = {}
    for name, option in inspect.signature(factory).parameters.items():
        if option.kind is option.VAR_KEYWORD:
            (options,) = get_args(option.annotation)
            fields |= {key: (kind, None) for key, kind in get_type_hints(options).items()}
        else:
            fields[name] = (option.annotation, ... if option.default is option.empty else option.default)
    return fields


def _sentence(label: str, detail: ErrorDetails, known: list[str]) -> str:
    key = ".".join(["rewards", label, *map(str, detail["loc"])])
    if detail["type"] == "value_error":  # of a check of ours, which knows what must not be shown
        return f"{key}: {detail['ctx']['error']}"
    if detail["type"] == "extra_forbidden":
        return f"{key} = {detail['input']!r}: unknown option; {suggestion(str(detail['loc'][-1]), known)}"
    return sentence(key, detail)
