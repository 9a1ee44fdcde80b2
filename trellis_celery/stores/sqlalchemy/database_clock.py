"""The time of the database's server: all programs that share it go by the same."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Connection, text

from trellis_celery.domain.machine_clock import machine_now_ms
from trellis_celery.stores.server_clock import ServerClock

#: What is known of the time may be so old, seconds.
MAX_AGE_S = 10.0

_MYSQL = text("SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) / 1000")
_QUESTIONS = {
    "postgresql": text("SELECT extract(epoch FROM clock_timestamp()) * 1000"),
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
}


class DatabaseClock:
    """A `Clock`. SQLite has no server: its time is this machine's. Raises StoreUnavailable."""

    def __init__(self, run: Callable[[Callable[[Connection], float]], float]) -> None:
        self._run = run
        self._clock = ServerClock()

    def now_ms(self) -> int:
        if not self._clock.is_set or self._clock.age_s > MAX_AGE_S:
            called_at_s = time.monotonic()
            self._clock.correct(self._run(_ask), called_at_s=called_at_s)
        return self._clock.now_ms()


def _ask(connection: Connection) -> float:
    question = _QUESTIONS.get(connection.dialect.name)
    return machine_now_ms() if question is None else float(connection.scalar(question))
