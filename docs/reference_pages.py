"""The pages of the reference, written from the code: schema, metrics, findings, rewards, command line and API."""

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from typer.core import TyperGroup, TyperOption

from mixgrpo import api
from mixgrpo.cli.main import app
from mixgrpo.recipe.keys import Key, keys, kinds_of, sections
from mixgrpo.recipe.load import description_of, shipped_recipes
from mixgrpo.reference.entries import of_reward
from mixgrpo.rewards.registry import REWARDS
from mixgrpo.runs.callbacks import Callback
from mixgrpo.runs.diagnosis import FINDINGS
from mixgrpo.section import one_line
from mixgrpo.training.meanings import METRICS


def pages() -> dict[str, str]:
    return {
        "reference/recipe.md": recipe(),
        "reference/recipes.md": shipped(),
        "reference/models.md": models(),
        "reference/rewards.md": rewards(),
        "reference/metrics.md": metrics(),
        "reference/command-line.md": command_line(),
        "reference/python.md": python(),
    }


def recipe() -> str:
    known = keys()
    top = [key for key in known if "." not in key.name]
    parts = [
        "# Recipe keys",
        "A recipe is a YAML file with these keys. On the command line a key is written with its section: "
        "`mixgrpo train scenes window.size=2`. Unknown keys, values of another type and keys that nothing reads are "
        "errors. `mixgrpo explain KEY` prints an entry of this page.",
        "## The recipe itself",
        key_table(top),
    ]
    for name, meaning in {**sections(), "rewards": "What is trained on and what is only observed."}.items():
        own = [key for key in known if key.name.startswith(f"{name}.")]
        parts += [f"## {name}", meaning, _kinds(name), key_table(own)]
    return "\n\n".join(part for part in parts if part)


def key_table(rows: Sequence[Key]) -> str:
    kinds = any(key.kinds for key in rows)
    head = ["key", "takes", "default", *(["only with"] if kinds else []), "meaning"]
    return table(
        head,
        (
            [
                f"`{key.name}`",
                key.type,
                f"`{key.default}`" if key.default else "must be given",
                *([", ".join(key.kinds)] if kinds else []),
                key.meaning,
            ]
            for key in rows
        ),
    )


def _kinds(section: str) -> str:
    described = {name: meaning for name, meaning in kinds_of(section).items() if meaning}
    return table(["kind", "what it does"], ([f"`{name}`", meaning] for name, meaning in described.items()))


def shipped() -> str:
    return "\n\n".join(
        [
            "# Shipped recipes",
            "`mixgrpo train NAME`; `mixgrpo plan NAME` shows what it does and costs. A recipe of your own begins with "
            "`extends: NAME`.",
            table(["recipe", "what it is"], ([f"`{name}`", description_of(name)] for name in shipped_recipes())),
        ]
    )


def models() -> str:
    from mixgrpo.planning.catalogue import entries

    rows = [
        [
            f"`{entry.path}`",
            f"`{entry.kind}`",
            entry.guidance,
            ", ".join(f"`{name}`" for name in entry.recipes) or "none",
        ]
        for entry in entries()
    ]
    return "\n\n".join(
        [
            "# Models",
            "What can be trained. `mixgrpo models --memory` plans what LoRA and full tuning take of one GPU. What is "
            "particular to each is in [Add a model](../how-to/models.md).",
            table(["model", "pipeline", "guidance", "recipes"], rows),
        ]
    )


def _codes(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def rewards() -> str:
    parts = [
        "# Rewards",
        "Names for the section `rewards` of a recipe. Options stand beside `weight`: `rewards.hpsv2.device=cuda:1`. "
        "How to write one of your own is in [Use rewards and write one](../how-to/rewards.md).",
    ]
    for name in sorted(REWARDS):
        entry = of_reward(name)
        options = table(["option", "takes"], ([f"`{option}`", takes] for option, takes in entry.details))
        parts += [f"## {name}", entry.meaning, options]
    return "\n\n".join(part for part in parts if part)


def metrics() -> str:
    return "\n\n".join(
        [
            "# Metrics and findings",
            "## Metrics",
            "One line of `metrics.jsonl` for each iteration, and the same names in TensorBoard, W&B and trackio.",
            table(["key", "meaning"], ([f"`{name}`", meaning] for name, meaning in METRICS.items())),
            "## Findings",
            "Every ten iterations a run says what its last metrics mean, if something is wrong.",
            table(
                ["finding", "meaning, and what to do"],
                ([f"`{name}`", one_line(inspect.getdoc(check))] for name, check in FINDINGS.items()),
            ),
        ]
    )


def command_line() -> str:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    parts = ["# Command line", "`mixgrpo --install-completion` adds completion to your shell."]
    for name, command in group.commands.items():
        arguments = [_argument(parameter) for parameter in command.params if not isinstance(parameter, TyperOption)]
        options = [_option(parameter) for parameter in command.params if isinstance(parameter, TyperOption)]
        usage = " ".join(["mixgrpo", name, *(shown for shown, _ in arguments), *(["[OPTIONS]"] if options else [])])
        rows = ([f"`{shown}`", meaning] for shown, meaning in [*arguments, *options])
        parts += [
            f"## {name}",
            one_line(command.help),
            f"```\n{usage}\n```",
            table(["argument or option", "meaning"], rows),
        ]
        if examples := (command.epilog or "").split("\n\n")[1:]:
            parts.append("```bash\n" + "\n".join(examples) + "\n```")
    return "\n\n".join(parts)


def _argument(parameter: Any) -> tuple[str, str]:
    return parameter.metavar or parameter.name.upper(), parameter.help or ""


def _option(parameter: TyperOption) -> tuple[str, str]:
    default = parameter.default
    said = default not in (None, False, "") and not callable(default)
    return ", ".join(parameter.opts), (parameter.help or "") + (f" Default: {default}." if said else "")


def python() -> str:
    parts = [
        "# Python",
        "`from mixgrpo import MixGRPOTrainer, MixGRPOConfig, Callback, load_recipe`. These names are stable: before a "
        "change there is one minor version that warns about it.",
        _described("MixGRPOConfig", api.MixGRPOConfig),
        "The keywords are the [sections of a recipe](recipe.md).",
        _described("MixGRPOTrainer", api.MixGRPOTrainer),
        one_line(inspect.getdoc(api.MixGRPOTrainer.__init__)),
        _members(api.MixGRPOTrainer),
        _described("Callback", Callback),
        _members(Callback),
    ]
    return "\n\n".join(part for part in parts if part)


def _described(name: str, kind: type) -> str:
    signature = inspect.signature(kind)
    plain = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    shown = signature.replace(parameters=plain, return_annotation=signature.empty)
    return f"## {name}\n\n```python\n{name}{shown}\n```\n\n{one_line(inspect.getdoc(kind))}"


def _members(kind: type) -> str:
    rows = []
    for name, member in vars(kind).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            rows.append([f"`{name}`", one_line(inspect.getdoc(member))])
        elif inspect.isfunction(member):
            shown = ", ".join(list(inspect.signature(member).parameters)[1:])
            rows.append([f"`{name}({shown})`", one_line(inspect.getdoc(member))])
    return table(["member", "meaning"], rows)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Empty without rows."""
    lines = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    if not lines:
        return ""
    return "\n".join(f"| {' | '.join(line)} |" for line in [list(head), ["---"] * len(head), *lines])
