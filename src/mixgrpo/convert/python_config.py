"""Configurations in Python (ml_collections) as plain values. They are parsed, never run.

Followed are assignments to `config.a.b`, constants, arithmetic on what was assigned before, and functions of the same
file that a configuration begins with. Everything else is kept as its source text.
"""

import ast
import operator
from dataclasses import dataclass, field
from typing import Any

from .errors import ConvertError

_OPERATORS: dict[type[ast.operator], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_MOST_BITS = 200


@dataclass(frozen=True)
class Computed:
    """An expression that was not evaluated."""

    text: str


class _NotPlain(Exception):
    pass


@dataclass
class _Reader:
    functions: dict[str, ast.FunctionDef]
    names: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)
    sections: dict[str, str] = field(default_factory=lambda: {"config": ""})
    """Local names of the configuration and of its sections, and the prefix of their keys."""

    def run(self, body: list[ast.stmt], calls: tuple[str, ...] = ()) -> None:
        for statement in body:
            if isinstance(statement, ast.Assign):
                self.assign(statement.targets, statement.value, calls)
            elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
                self.assign([statement.target], statement.value, calls)
            elif isinstance(statement, ast.If | ast.For | ast.While | ast.With | ast.Try):
                for inner in ast.walk(statement):
                    if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
                        self.store(inner, Computed(f"depends on {ast.unparse(statement).splitlines()[0]}"))

    def assign(self, targets: list[ast.expr], value: ast.expr, calls: tuple[str, ...]) -> None:
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in self.functions:
            name = value.func.id
            if name in calls:
                raise ConvertError(f"{name} begins with itself: {' -> '.join([*calls, name])}")
            self.run(self.functions[name].body, (*calls, name))
            return
        if "ConfigDict" in ast.unparse(value):
            prefixes = [prefix for target in targets if (prefix := self.key(target)) is not None]
            for target in targets:
                if isinstance(target, ast.Name) and prefixes:
                    self.sections[target.id] = f"{prefixes[0]}."
            return
        for target in targets:
            self.store(target, self.value(value))

    def store(self, target: ast.expr, value: Any) -> None:
        key = self.key(target)
        if key is not None:
            self.keys.pop(key, None)
            if isinstance(value, dict) and key in ("sample", "train", "pretrained"):
                self.keys |= {f"{key}.{name}": item for name, item in value.items()}
            else:
                self.keys[key] = value
        elif isinstance(target, ast.Name):
            self.names[target.id] = value

    def key(self, target: ast.expr) -> str | None:
        """`config.sample.num_steps` -> sample.num_steps"""
        first, _, rest = ast.unparse(target).partition(".")
        is_path = isinstance(target, ast.Attribute) and first in self.sections
        return f"{self.sections[first]}{rest}" if is_path else None

    def value(self, node: ast.expr) -> Any:
        try:
            return self.plain(node)
        except (_NotPlain, ArithmeticError, TypeError, ValueError, RecursionError):
            return Computed(ast.unparse(node))

    def plain(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant():
                return node.value
            case ast.Tuple() | ast.List():
                return [self.plain(each) for each in node.elts]
            case ast.Dict():
                return {
                    self.plain(key): self.plain(each)
                    for key, each in zip(node.keys, node.values, strict=True)
                    if key is not None
                }
            case ast.UnaryOp(op=ast.USub()):
                return -self.plain(node.operand)
            case ast.BinOp() if type(node.op) in _OPERATORS:
                numbers = (self.plain(node.left), self.plain(node.right))
                if all(isinstance(number, int | float) and _is_short(number) for number in numbers):
                    return _OPERATORS[type(node.op)](*numbers)
            case ast.Call(func=ast.Name(id="int" | "float" as name), args=[argument]):
                return {"int": int, "float": float}[name](self.plain(argument))
            case ast.Name() if node.id in self.names:
                return _known(self.names[node.id])
            case ast.Attribute() if (key := self.key(node)) in self.keys:
                return _known(self.keys[str(key)])
        raise _NotPlain


def read_python(text: str, function: str | None = None) -> dict[str, Any]:
    """The keys of a configuration: of the file's own statements, or of one of its functions."""
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConvertError(f"not valid Python: {error}") from None
    functions = {each.name: each for each in module.body if isinstance(each, ast.FunctionDef)}
    reader = _Reader(functions)
    reader.run(module.body)
    chosen = _chosen(functions, function, bool(reader.keys))
    if chosen is not None:
        reader.run(functions[chosen].body, (chosen,))
    given = dict(reader.keys)
    if isinstance(reader.names.get("gpu_number"), int):
        given["gpu_number"] = reader.names["gpu_number"]
    return given


def _chosen(functions: dict[str, ast.FunctionDef], function: str | None, has_keys: bool) -> str | None:
    if function is not None:
        if function not in functions:
            raise ConvertError(f"no function {function}: the file has {', '.join(functions) or 'none'}")
        return function
    configurations = [name for name, each in functions.items() if not each.args.args]
    if has_keys or not configurations:
        return None
    if len(configurations) > 1:
        raise ConvertError(
            f"{len(configurations)} configurations: name one, such as FILE:{configurations[-1]}. There are "
            f"{', '.join(configurations)}"
        )
    return configurations[0]


def _known(value: Any) -> Any:
    if isinstance(value, Computed):
        raise _NotPlain
    return value


def _is_short(number: float) -> bool:
    return not isinstance(number, int) or number.bit_length() < _MOST_BITS
