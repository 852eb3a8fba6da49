"""Errors that the user can mend are shown as a sentence, without a traceback."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer


def refuse(sentence: str) -> NoReturn:
    """A mistake on the command line: exit status 2. Of processes that torchrun started, one a machine shows it."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        typer.echo(sentence, err=True)
    sys.exit(2)


@contextmanager
def as_sentences(*kinds: type[Exception]) -> Iterator[None]:
    """Errors of these kinds end the command with their message and exit status 1."""
    try:
        yield
    except kinds as error:
        typer.echo(str(error), err=True)
        sys.exit(1)


@contextmanager
def training_errors() -> Iterator[None]:
    """For commands that load a model."""
    from mixgrpo.parallel.distributed import AnotherFailedFirst
    from mixgrpo.parallel.local import ProcessEnded
    from mixgrpo.rewards.clients.endpoints import RequestRefused
    from mixgrpo.training.scoring import RewardError
    from mixgrpo.training.weights import TrainingStopped

    mistakes = (RewardError, RequestRefused, TrainingStopped, ProcessEnded, ValueError, OSError, ImportError)
    try:
        with as_sentences(*mistakes):
            yield
    except AnotherFailedFirst:
        sys.exit(1)
