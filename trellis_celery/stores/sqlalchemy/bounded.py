"""Connections to PostgreSQL that do not wait for ever.

The driver has no limit for the wait for a reply, and the server's own limits are of no use when the server or the
network has stopped.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import psycopg
from psycopg.waiting import Ready

#: The server's own limit comes first while it is alive: it leaves the connection usable.
_MARGIN = 1.2


class BoundedConnection(psycopg.Connection[Any]):
    """Closed when a reply does not come in time."""

    #: Seconds.
    limit_s: float

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        until_s = time.monotonic() + self.limit_s * _MARGIN
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready == Ready.NONE and time.monotonic() > until_s:
                    self.close()
                    raise psycopg.OperationalError("there was no reply in time")
                wanted = gen.send(ready)
        except StopIteration as stop:
            return stop.value


def connect(*arguments: Any, limit_s: float, **options: Any) -> BoundedConnection:
    connection = BoundedConnection.connect(*arguments, **options)
    connection.limit_s = limit_s
    return connection
