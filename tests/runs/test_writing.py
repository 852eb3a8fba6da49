import threading
from contextlib import closing
from pathlib import Path

import pytest
import torch
from torch.distributed import ProcessGroup

from mixgrpo.runs.checkpoints import Checkpoints
from mixgrpo.runs.writing import Writing
from runs import small_trainer


def test_whoever_begins_does_not_wait_and_whoever_finishes_does() -> None:
    may_end, ended = threading.Event(), threading.Event()

    def write(group: ProcessGroup | None) -> None:
        may_end.wait()
        ended.set()

    with closing(Writing()) as writing:
        writing.begin(write)
        assert not ended.is_set()
        may_end.set()
        writing.finish()
        assert ended.is_set()


def test_one_thing_is_written_at_a_time_and_closing_waits() -> None:
    written: list[int] = []
    with closing(Writing()) as writing:
        for number in range(3):
            writing.begin(lambda group, number=number: written.append(number))  # type: ignore[misc]
            assert len(written) >= number
    assert written == [0, 1, 2]


def test_an_error_is_raised_by_whoever_waits_for_it() -> None:
    def write(group: ProcessGroup | None) -> None:
        raise OSError("the disk is full")

    with closing(Writing()) as writing:
        writing.begin(write)
        with pytest.raises(OSError, match="the disk is full"):
            writing.finish()
        writing.finish()


def test_what_is_written_is_the_state_at_the_beginning(tmp_path: Path) -> None:
    """Training changes weights, their average and the optimizer's state in place."""
    trainer = small_trainer(update={"ema_decay": 0.5})
    trainer.iterate()
    state = trainer.snapshot().copied()
    checkpoints, trained_on = Checkpoints(tmp_path), threading.Event()
    before = {name: tensor.clone() for name, tensor in state.tensors.items()}

    def write(group: ProcessGroup | None) -> None:
        trained_on.wait()
        checkpoints.save(state, {}, 1, group=group)

    with closing(Writing()) as writing:
        writing.begin(write)
        trainer.iterate()
        trained_on.set()
        writing.finish()
    saved = checkpoints.load(1).tensors
    now = trainer.snapshot().tensors
    assert saved.keys() == now.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in saved.items())
    assert not any(torch.equal(tensor, now[name]) for name, tensor in saved.items())
