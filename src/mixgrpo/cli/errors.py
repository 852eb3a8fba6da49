"""Errors that the user can mend are shown as a sentence, without a traceback."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import typer


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
    """For commands that load a model. The libraries print things when they are imported: import them inside."""
    _quiet_libraries()
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


def _quiet_libraries() -> None:
    """No progress bars for what takes a second, and no warnings about what is as it should be."""
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    for handler in logging.getLogger("transformers").handlers:
        handler.addFilter(lambda record: "requires torchvision" not in record.getMessage())
    warnings.filterwarnings("ignore", "Mismatch dtype between input and weight")  # float32 weights under autocast
    warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")  # diffusers' version checks
