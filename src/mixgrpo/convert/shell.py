"""Shell text to the words of the commands in it. Nothing is executed.

Assignments `NAME=value` are followed, and `$NAME`, `${NAME}` and `${NAME:-default}` are replaced by what was assigned.
What only a shell can know stays as it is written: `$(command)`, `$((sum))`, `$1`, variables of the environment.
"""

import re
import shlex

from .errors import ConvertError

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?::?-([^{}]*))?\})")
_SEPARATORS = "\n;&|"


def commands(text: str) -> list[list[str]]:
    """The words of each command, those inside a quoted command line (`ssh host "cd x; torchrun ..."`) too."""
    known: dict[str, str] = {}
    found: list[list[str]] = []
    for statement in _statements(text):
        words = _words(_substituted(statement, known))
        if not words:
            continue
        assigned = words[1:] if words[0] in ("export", "local", "declare", "readonly") else words
        pairs = [_ASSIGNMENT.fullmatch(word) for word in assigned]
        if all(pairs):
            known |= {pair[1]: pair[2] for pair in pairs if pair}
            continue
        inner = [word for word in words if _is_command_line(word)]
        for word in inner:
            found += commands(word)  # by another shell, which knows none of these variables
        found += [] if inner else [words]
    return found


def _is_command_line(word: str) -> bool:
    return re.search(r"(torchrun|python\d?|accelerate|deepspeed)\s.*\s--\w", word, re.DOTALL) is not None


def _words(statement: str) -> list[str]:
    try:
        return shlex.split(statement)
    except ValueError:
        raise ConvertError(f"a quote is never closed in the line that begins with {statement.strip()[:60]!r}") from None


def _statements(text: str) -> list[str]:
    """Continued lines joined, comments left out; line breaks and separators inside quotes kept."""
    statements, statement, quote, at = [], "", "", 0
    text = text.replace("\r\n", "\n")
    while at < len(text):
        character = text[at]
        if character == "\\" and quote != "'":
            pair = text[at : at + 2]
            statement += "" if pair == "\\\n" else pair
            at += 2
            continue
        if character == "#" and not quote and (not statement or statement[-1].isspace()):
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
            continue
        if text[at : at + 2] in ("$(", "${") and quote != "'":
            length = _length(text, at)
            statement += text[at : at + length]
            at += length
            continue
        if character in "\"'" and quote in ("", character):
            quote = "" if quote else character
        redirected = character == "&" and statement.endswith(">")
        if not quote and character in _SEPARATORS and not redirected:
            statements.append(statement)
            statement = ""
        else:
            statement += character
        at += 1
    return [*statements, statement]


def _substituted(line: str, known: dict[str, str]) -> str:
    """With the values of variables, quoted so that a lexer reads them as they are."""
    out, quote, at = "", "", 0
    while at < len(line):
        character = line[at]
        if character == "\\" and quote != "'":
            pair = line[at : at + 2]
            out += pair[1:] if quote and pair == "\\$" else pair
            at += 2
            continue
        if character in "\"'" and quote in ("", character):
            quote = "" if quote else character
        if character == "$" and quote != "'":
            found = _VARIABLE.match(line, at)
            length = found.end() - at if found else _length(line, at)
            value = _value(found, known) if found else None
            if value is None:  # only a shell knows it
                out += _quoted(line[at : at + length], quote)
            elif value or quote:
                out += _quoted(value, quote)
            at += length
            continue
        out += character
        at += 1
    return out


def _value(found: re.Match[str], known: dict[str, str]) -> str | None:
    name, default = found[1] or found[2], found[3]
    value = known.get(name)
    if default is None or value:
        return value
    return _VARIABLE.sub(lambda inner: _value(inner, known) or inner[0], default)


def _length(line: str, at: int) -> int:
    """Of `$(...)`, `${...}` or `$1`, in characters."""
    brackets = {"(": ")", "{": "}"}
    if line[at + 1 : at + 2] not in brackets:
        return min(2, len(line) - at)
    opening, closing, depth = line[at + 1], brackets[line[at + 1]], 0
    for position in range(at + 1, len(line)):
        depth += (line[position] == opening) - (line[position] == closing)
        if not depth:
            return position + 1 - at
    return len(line) - at


def _quoted(value: str, quote: str) -> str:
    return re.sub(r'(["\\])', r"\\\1", value) if quote else shlex.quote(value)
