"""What pydantic finds wrong, in words: the cases that recipes and a reward's options have in common."""

from pydantic_core import ErrorDetails


def sentence(key: str, detail: ErrorDetails) -> str:
    if detail["type"] == "missing":
        return f"{key} is missing: it has no default and must be given"
    allowed = detail["msg"].replace("Input should be", "must be").replace("a valid tuple", "a list: [first, second]")
    return f"{key} = {detail['input']!r}: {allowed}"
