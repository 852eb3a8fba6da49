"""Captions of the world of scenes as a source of prompts."""

from itertools import islice

from .captions import Request, caption
from .prompts import EVALUATION_SIZES, evaluation_requests, train_requests


def train_rows(seed: int, count: int) -> list[dict[str, str]]:
    """The first captions of the endless training stream, with the kinds in the proportions of the evaluation set."""
    return [_row(request) for request in islice(train_requests(seed, EVALUATION_SIZES), count)]


def evaluation_rows() -> list[dict[str, str]]:
    """The held-out set."""
    return [_row(request) for request in evaluation_requests()]


def _row(request: Request) -> dict[str, str]:
    return {"prompt": caption(request), "kind": request.kind}
