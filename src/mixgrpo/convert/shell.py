"""Shell text to the words of the commands in it. Nothing is executed.

Assignments `NAME=value` are followed, and `$NAME`, `${NAME}` and `${NAME:-default}` are replaced by what was assigned.
What only a shell can know stays as it is written: `$(command)`, `$((sum))`, `$1`, variables of the environment.
"""

import re
import shlex

from .errors import ConvertError

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?::?-([^{}]*))?\})")
_SEPARATORS = ";&|"


def commands(text: str, variables: dict[str, str] | None = None) -> list[list[str]]:
    """The words of each command, those inside a quoted command line (`ssh host "cd x; torchrun ..."`) too."""
    known = dict(variables or {})
    found: list[list[str]] = []
    for line in _lines(text):
        for words in _statements(_substituted(line, known)):
            assigned = words[1:] if words[0] in ("export", "local", "declare", "readonly") else words
            pairs = [_ASSIGNMENT.fullmatch(word) for word in assigned]
            if all(pairs):
                known |= {pair[1]: pair[2] for pair in pairs if pair}
                continue
            inner = [word for word in words if _is_command_line(word)]
            for word in inner:
                found += commands(word, known)
            found += [] if inner else [words]
    return found


def _is_command_line(word: str) -> bool:
    return re.search(r"(torchrun|python\d?|accelerate|deepspeed)\s.*\s--\w", word, re.DOTALL) is not None


def _statements(line: str) -> list[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=_SEPARATORS)
    lexer.commenters, lexer.whitespace_split = "", True
    try:
        tokens = [*lexer]
    except ValueError:
        raise ConvertError(f"a quote is never closed in the line that begins with {line.strip()[:60]!r}") from None
    statements: list[list[str]] = [[]]
    for token in tokens:
        if token and set(token) <= set(_SEPARATORS):
            statements.append([])
        else:
            statements[-1].append(token)
    return [words for words in statements if words]


def _lines(text: str) -> list[str]:
    """Logical lines: continued ones joined, comments left out, line breaks inside quotes kept."""
    lines, line, quote, at = [], "", "", 0
    text = text.replace("\r\n", "\n")
    while at < len(text):
        character = text[at]
        if character == "\\" and quote != "'":
            pair = text[at : at + 2]
            line += "" if pair == "\\\n" else pair
            at += 2
            continue
        if character == "#" and not quote and (not line or line[-1].isspace() or line[-1] in _SEPARATORS):
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
            continue
        if character in "\"'" and quote in ("", character):
            quote = "" if quote else character
        if character == "\n" and not quote:
            lines.append(line)
            line = ""
        else:
            line += character
        at += 1
    return [each for each in [*lines, line] if each.strip()]


def _substituted(line: str, known: dict[str, str]) -> str:
    """With the values of variables, quoted so that a lexer reads them as they are."""
    out, quote, at = "", "", 0
    while at < len(line):
        character = line[at]
        if character == "\\" and quote != "'":
            out += line[at : at + 2]
            at += 2
            continue
        if character in "\"'" and quote in ("", character):
            quote = "" if quote else character
        if character == "$" and quote != "'":
            found = _VARIABLE.match(line, at)
            length = found.end() - at if found else _unknown_length(line, at)
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


def _unknown_length(line: str, at: int) -> int:
    """Of `$(...)`, `${...}` or `$1`."""
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
