import pytest

from mixgrpo.rewards.clients.wire import TooLarge
from mixgrpo.serving.request_memory import Busy, Memory

MIB = 2**20


def test_requests_together_hold_no_more_than_the_total() -> None:
    memory = Memory(10 * MIB)
    with memory.share() as first, memory.share() as second:
        first.take(6 * MIB)
        with pytest.raises(Busy, match="requests hold 6 of 10 MiB: try again"):
            second.take(5 * MIB)
        first.keep(2 * MIB)
        second.take(5 * MIB)
        assert memory.used == 7 * MIB
    assert memory.used == 0


def test_a_request_that_can_never_fit_is_not_told_to_try_again() -> None:
    memory = Memory(10 * MIB)
    with memory.share() as share:
        share.take(6 * MIB)
        with pytest.raises(TooLarge, match="more than 10 MiB: send fewer images per request"):
            share.take(6 * MIB)


def test_an_error_frees_the_memory() -> None:
    memory = Memory(10)
    with pytest.raises(TooLarge), memory.share() as share:
        share.take(11)
    assert memory.used == 0
