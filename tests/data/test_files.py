"""Each mistake in a file of prompts is one sentence with the file and the line."""

import re
from pathlib import Path

import pytest

from mixgrpo.data.prompts import prompts_of


def _texts(path: Path, content: bytes) -> list[str]:
    path.write_bytes(content)
    return [prompt.text for prompt in prompts_of(path)]


def test_a_byte_order_mark_is_no_part_of_the_first_prompt(tmp_path: Path) -> None:
    for name, content in (("p.txt", "a fox"), ("p.jsonl", '{"prompt": "a fox"}'), ("p.csv", "prompt\na fox")):
        assert _texts(tmp_path / name, content.encode("utf-8-sig")) == ["a fox"]


def test_only_line_feeds_separate_prompts(tmp_path: Path) -> None:
    line = "one\u2028still one\x85and\x0cone"
    assert _texts(tmp_path / "p.txt", f"{line}\r\ntwo\n".encode()) == [line, "two"]
    assert _texts(tmp_path / "p.jsonl", f'{{"prompt": "{line[:14]}"}}\r\n'.encode()) == [line[:14]]


def test_a_csv_file_has_quotes_and_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text('prompt,kind\n"a sign, that\nsays ""CAT""",text\n\na fox,animal\n')
    assert [(prompt.text, prompt.metadata) for prompt in prompts_of(path)] == [
        ('a sign, that\nsays "CAT"', {"kind": "text"}),
        ("a fox", {"kind": "animal"}),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", b"", "'PATH': the file has no prompts"),
        ("p.txt", b"a fox\ncaf\xe9\n", "PATH line 2: not text in UTF-8"),
        ("p.txt", "a fox\n".encode("utf-16"), "PATH line 1: not text in UTF-8"),
        ("p.txt", b"a\0fox\n", "PATH line 1: the prompt is not text: it holds a NUL"),
        ("p.txt", b"a" * 100_001, "PATH line 1: a prompt of 100,001 characters: must have at most 100,000"),
        ("p.jsonl", b"1\n", "PATH line 1: must be an object with a key `prompt`, not int"),
        ("p.jsonl", b"null\n", "PATH line 1: must be an object with a key `prompt`, not NoneType"),
        ("p.jsonl", b'["prompt"]\n', "PATH line 1: must be an object with a key `prompt`, not list"),
        ("p.jsonl", b'\n{"prompt": 5}\n', "PATH line 2: prompt = 5: must be a string"),
        ("p.jsonl", b'{"prompt": ["a", "b"]}\n', "PATH line 1: prompt = ['a', 'b']: must be a string"),
        ("p.jsonl", b'{"prompt": " "}\n', "PATH line 1: the prompt is empty"),
        ("p.jsonl", b'{"prompt": "a \\ud800"}\n', "PATH line 1: the prompt is not text: it holds a NUL or half a surr"),
        ("p.jsonl", b'{"prompt": "a", "prompt": "b"}\n', "PATH line 1: a key is given twice"),
        ("p.jsonl", b'{"prompt": "a"\n', "PATH line 1: not valid JSON: Expecting ',' delimiter at character 15"),
        ("p.jsonl", b"[" * 100_000, "PATH line 1: nested too deep"),
        ("p.jsonl", b'{"prompt": "a", "n": ' + b"9" * 5000 + b"}", "PATH line 1: Exceeds the limit (4300 digits)"),
        ("p.jsonl", b'{"prompt": "a", "images": 1}', "PATH line 1: a column may not be called images"),
        ("p.jsonl", b'{"prompt": "a", "prompts": 1}', "PATH line 1: a column may not be called prompts"),
        ("p.jsonl", b'{"prompt": "a", "kind": ["x"]}', "PATH line 1: kind = ['x']: must be a string"),
        (
            "p.jsonl",
            b'{"caption": "a"}',
            "PATH line 1: a prompt dataset needs a column `prompt`; this row has only capt",
        ),
        ("p.csv", b"caption\na\n", "PATH line 2: a prompt dataset needs a column `prompt`; this row has only caption"),
        ("p.csv", b"prompt,n\na\n", "PATH line 2: 1 cells: must be 2, as in the first line"),
        ("p.csv", b"prompt,prompt\na,b\n", "PATH line 1: a column is named twice"),
        ("p.csv", b'prompt\n"a\n', "PATH line 2: not valid CSV"),
        ("p.csv", b"prompt\n", "'PATH': the file has no prompts"),
    ],
)
def test_mistakes(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(message.replace("PATH", str(path)))):
        prompts_of(path)
