"""HTTP connections that end when the client is too slow. uvicorn itself waits for a header or a body for ever."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def timed_protocol(read_timeout: float) -> type[asyncio.Protocol]:
    """Connections on which a request must be complete within so many seconds. uvicorn's own timeout
    covers the pause between requests.
    """

    class TimedProtocol(H11Protocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._expect_more()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
                self._expect_more()
            else:
                self._forget_deadline()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget_deadline()
            super().connection_lost(exc)

        def shutdown(self) -> None:
            """A request that is not here yet is not waited for."""
            if self.conn.their_state is h11.SEND_BODY:
                self.transport.close()
            else:
                super().shutdown()

        def _expect_more(self) -> None:
            if self._deadline is None:
                self._deadline = self.loop.call_later(read_timeout, self._end)

        def _forget_deadline(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _end(self) -> None:
            self._deadline = None
            being_read = self.conn.their_state is h11.SEND_BODY and not self.cycle.response_complete
            if not being_read:  # otherwise the application's own timeout ends it, with a sentence
                self.transport.close()

    return TimedProtocol
