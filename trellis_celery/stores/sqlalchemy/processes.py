"""A process repository in a SQL database, beside a tracker repository anywhere.

It has the tables of `SQLAlchemyStore`, and so its lists and their indexes. The trap: rows do not tell whose they are.
A database is opened as a store or as a process repository, by all programs alike. A store on a repository's rows (a
program without `trellis_tracker_url`) changes steps past their trackers, and finds no step due, for the repository
leaves the clocks of steps to the trackers. A repository on a store's rows finds processes and changes them, but not
what is due: messages, leases and deadlines of what the store started are not followed any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar
from uuid import uuid4

from sqlalchemy import Connection, select

from trellis_celery.domain.events import Event
from trellis_celery.domain.identity import BusinessKey, is_process_id
from trellis_celery.domain.process import Process
from trellis_celery.domain.queries import Finished, Position, ProcessFilter, ProcessSummary
from trellis_celery.ports import Clock
from trellis_celery.repositories import ProcessRepository
from trellis_celery.stores import codec
from trellis_celery.stores.sqlalchemy import listing, process_rows
from trellis_celery.stores.sqlalchemy.database_clock import DatabaseClock
from trellis_celery.stores.sqlalchemy.models import LogRow, ProcessRow
from trellis_celery.stores.sqlalchemy.records import live_key
from trellis_celery.stores.sqlalchemy.transactions import Bind, Transactions, transactions

T = TypeVar("T")


class SQLAlchemyProcessRepository(ProcessRepository):
    """Processes in PostgreSQL, MySQL, MariaDB or SQLite. Its tables are made by `schema.migrate`.

    bind
        An Engine, a sessionmaker, a Session or a Connection: as for `SQLAlchemyStore`. Within a transaction of the
        application the trackers do not take part, wherever they are: they are written when the process is.
    clock
        The time it goes by; the database server's if left out, with SQLite that of this machine.
    timeout_ms
        How long a call goes on trying while other transactions are in its way.

    Each method is one transaction, and `add` and `save` recognise their own repetition when the reply to one was lost.
    Raises ConfigurationError for any other bind.
    """

    def __init__(self, bind: Bind, *, clock: Clock | None = None, timeout_ms: int = 2_000) -> None:
        self._transactions = transactions(bind, timeout_ms=timeout_ms)
        self._clock: Clock = DatabaseClock(self._run) if clock is None else clock

    @property
    def transactions(self) -> Transactions:
        """In which its statements run."""
        return self._transactions

    def _run(self, work: Callable[[Connection], T]) -> T:
        return self._transactions.run(work)

    def now_ms(self) -> int:
        return self._clock.now_ms()

    # Each process

    def add(self, process: Process, events: Sequence[Event] = (), *, replaces: str | None = None) -> None:
        """Raises DefinitionError if the metadata are not JSON values."""
        token, now_ms = _new_token(), self.now_ms()
        self._run(
            partial(process_rows.add, process=process, events=events, replaces=replaces, token=token, now_ms=now_ms)
        )

    def save(self, process: Process, events: Sequence[Event] = ()) -> None:
        """Only the rows of steps that changed are written. Raises DefinitionError if the metadata are not JSON."""
        token, now_ms = _new_token(), self.now_ms()
        self._run(partial(process_rows.save, process=process, events=events, token=token, now_ms=now_ms))

    def get_by_id(self, process_id: str) -> Process | None:
        if not is_process_id(process_id):
            return None
        return self._run(partial(process_rows.read, condition=ProcessRow.id == process_id))

    def get_by_aggregate(self, key: BusinessKey) -> Process | None:
        return self._run(partial(process_rows.read, condition=ProcessRow.live_key == live_key(key)))

    def history(self, process_id: str) -> list[Event]:
        if not is_process_id(process_id):
            return []
        entries = select(LogRow.entry).where(LogRow.process_id == process_id).order_by(LogRow.id)
        return [codec.load_event(entry) for entry in self._run(lambda connection: connection.scalars(entries).all())]

    def delete(self, process_id: str, *, version: int, finished_since_ms: int | None = None) -> bool:
        if not is_process_id(process_id):
            return False
        return self._run(
            partial(process_rows.remove, process_id=process_id, version=version, finished_since_ms=finished_since_ms)
        )

    # All of them

    def list_newest(self, only: ProcessFilter, *, limit: int, after: Position | None) -> list[ProcessSummary]:
        return self._run(partial(listing.list_processes, only=only, limit=limit, after=after))

    def all_timed_out(self, *, now_ms: int, limit: int) -> list[Process]:
        return self._run(partial(process_rows.read_late, now_ms=now_ms, limit=limit))

    def finished(
        self, *, is_archived: bool, until_ms: int | None, limit: int, after: Finished | None
    ) -> list[Finished]:
        return self._run(
            partial(listing.finished, is_archived=is_archived, until_ms=until_ms, limit=limit, after=after)
        )

    def count_finished(self, *, is_archived: bool) -> int:
        return self._run(partial(listing.count_finished, is_archived=is_archived))

    def mark_archived(self, finished: Sequence[Finished]) -> None:
        self._run(partial(listing.mark_archived, finished=finished))


def _new_token() -> str:
    """Tells one call from others."""
    return uuid4().hex
