"""The process store in a SQL database.

Decisions are made in Python; a transaction writes one only if the step's version is still the one it was made for.
Every write carries a token or a fresh id by which it recognises its own repetition, so it is safe to send it again when
the connection was lost before the reply.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection, exc, insert, select, update

from trellis_celery import errors
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.identity import BusinessKey, is_process_id
from trellis_celery.domain.process import OWN_RECORD, Process
from trellis_celery.domain.queries import Finished, Position, ProcessFilter, ProcessSummary, Stats
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import (
    EVERYTHING,
    Change,
    Clock,
    Committed,
    Conflict,
    Due,
    LastCheck,
    LeaseKey,
    StepKey,
    Unrelayed,
)
from trellis_celery.stores import codec
from trellis_celery.stores.sqlalchemy import checks, listing, outbox, records, totals
from trellis_celery.stores.sqlalchemy.database_clock import DatabaseClock
from trellis_celery.stores.sqlalchemy.models import LogRow, ProcessRow, StepRow
from trellis_celery.stores.sqlalchemy.rows import delete_process, lock_processes, step_rows
from trellis_celery.stores.sqlalchemy.transactions import Bind, Contended, Transactions, transactions
from trellis_celery.stores.sqlalchemy.writing import write
from trellis_celery.stores.tallies import tallies_of

T = TypeVar("T")


class SQLAlchemyStore:
    """A `ProcessStore` in PostgreSQL, MySQL, MariaDB or SQLite. Its tables are made by `schema.migrate`.

    bind
        With an Engine or a sessionmaker every method is a transaction of its own. With a Session or a Connection the
        methods run within the transaction there, each in a savepoint, and nothing is committed: what the application
        writes and the process that it starts become true together, or not at all.
    clock
        The time it goes by; the database server's if left out, with SQLite that of this machine.
    timeout_ms
        How long a call goes on trying while other transactions are in its way. How long a single statement may take is
        set on the engine, see `connect.engine_for`.

    Raises ConfigurationError for any other bind.
    """

    def __init__(self, bind: Bind, *, clock: Clock | None = None, timeout_ms: int = 2_000) -> None:
        self._transactions = transactions(bind, timeout_ms=timeout_ms)
        self._timeout_s = timeout_ms / 1000
        self._clock: Clock = DatabaseClock(self._run) if clock is None else clock
        self._watch = totals.Watch()

    @property
    def transactions(self) -> Transactions:
        """In which its statements run."""
        return self._transactions

    def _run(self, work: Callable[[Connection], T]) -> T:
        return self._transactions.run(work)

    def now_ms(self) -> int:
        return self._clock.now_ms()

    # Processes

    def create(self, process: Process, *, replaces: str | None = None, is_announced: bool = False) -> str:
        """Raises DefinitionError if the metadata are not JSON values."""
        started = Event(EventKind.PROCESS_STARTED, OWN_RECORD, 0, process.started_at_ms)
        values, step_values = records.process_values(process), list(records.step_values(process))
        values["outbox_at_ms"] = self.now_ms() if is_announced else None
        added = totals.Totals()
        added.add(process.process_type, tallies_of([started]))
        holder = select(ProcessRow.id).where(ProcessRow.live_key == values["live_key"])
        again = select(ProcessRow.id).where(ProcessRow.id == process.id)

        def work(connection: Connection) -> str:
            if replaces is not None:
                wrongly = (ProcessRow.id == replaces) & (ProcessRow.live_key == values["live_key"])
                connection.execute(update(ProcessRow).where(wrongly).values(live_key=None))
            try:
                with connection.begin_nested():
                    connection.execute(insert(ProcessRow), values)
            except exc.IntegrityError:
                live_id = connection.scalar(holder) or connection.scalar(again)
                if live_id is None:  # it was finished between the two statements, or is not visible here
                    raise
                return live_id
            connection.execute(insert(StepRow), step_values)
            connection.execute(insert(LogRow), {"process_id": process.id, "entry": codec.dump_event(started)})
            added.write(connection)
            return process.id

        return self._run(work)

    def load(self, process_id: str) -> Process:
        if not is_process_id(process_id):
            raise errors.ProcessNotFound(process_id=process_id)
        process = select(
            ProcessRow.id,
            ProcessRow.tenant_id,
            ProcessRow.process_type,
            ProcessRow.aggregate_type,
            ProcessRow.aggregate_id,
            ProcessRow.started_at_ms,
            ProcessRow.details,
        ).where(ProcessRow.id == process_id)
        steps = select(StepRow.name, StepRow.version, StepRow.record).where(StepRow.process_id == process_id)

        def work(connection: Connection) -> Process:
            if (row := connection.execute(process).one_or_none()) is None:
                raise errors.ProcessNotFound(process_id=process_id)
            return records.read_process(row, connection.execute(steps.order_by(StepRow.position)).all())

        return self._run(work)

    def find(self, key: BusinessKey) -> str | None:
        holder = select(ProcessRow.id).where(ProcessRow.live_key == records.live_key(key))
        return self._run(lambda connection: connection.scalar(holder))

    def list_processes(
        self, only: ProcessFilter = EVERYTHING, *, limit: int = 50, after: Position | None = None
    ) -> list[ProcessSummary]:
        return self._run(partial(listing.list_processes, only=only, limit=limit, after=after))

    def history(self, process_id: str) -> list[Event]:
        if not is_process_id(process_id):
            return []
        entries = select(LogRow.entry).where(LogRow.process_id == process_id).order_by(LogRow.id)
        return [codec.load_event(entry) for entry in self._run(lambda connection: connection.scalars(entries).all())]

    def delete(self, process_id: str, *, finished_since_ms: int | None = None) -> bool:
        if not is_process_id(process_id):
            return False

        def work(connection: Connection) -> bool:
            row = lock_processes(connection, [process_id]).get(process_id)
            if row is None or finished_since_ms not in (None, row.since_ms):
                return False
            if finished_since_ms is not None and row.outbox_at_ms is not None:
                return False
            delete_process(connection, process_id)
            return True

        return self._run(work)

    # Finished processes

    def finished(
        self, *, is_archived: bool, until_ms: int | None = None, limit: int, after: Finished | None = None
    ) -> list[Finished]:
        return self._run(
            partial(listing.finished, is_archived=is_archived, until_ms=until_ms, limit=limit, after=after)
        )

    def count_finished(self, *, is_archived: bool) -> int:
        return self._run(partial(listing.count_finished, is_archived=is_archived))

    def mark_archived(self, finished: Sequence[Finished]) -> None:
        self._run(partial(listing.mark_archived, finished=finished))

    # Steps

    def load_steps(self, keys: Sequence[StepKey]) -> list[ProcessStep | Exception | None]:
        columns = (StepRow.version, StepRow.record)
        found = self._run(lambda connection: step_rows(connection, keys, *columns))
        return [records.read_step_or_error(found.get(key)) for key in keys]

    def load_messages(self, keys: Sequence[StepKey]) -> list[bytes | None]:
        found = self._run(lambda connection: step_rows(connection, keys, StepRow.message))
        return [None if (row := found.get(key)) is None else row.message for key in keys]

    def commit(self, changes: Sequence[Change]) -> list[Committed | Conflict | Exception]:
        """Write the changes in one transaction, or, where that fails, each in one of its own.

        Within the application's transaction a database that does not answer is raised, for all is lost there.
        """
        if not changes:
            return []
        began_s = time.monotonic()
        try:
            return self._write(changes, until_s=began_s if len(changes) > 1 else None)
        except Contended as error:
            failure: errors.StoreError = error
        except (errors.StoreUnavailable, errors.SchemaOutdated) as error:
            if self._transactions.is_joined:
                raise
            return [error] * len(changes)
        except errors.StoreError as error:
            failure = error
        if self._transactions.is_joined and isinstance(failure, Contended):
            raise failure
        if len(changes) == 1:
            return [failure]
        return [self._write_alone(change, began_s, failure) for change in changes]

    def _write(self, changes: Sequence[Change], *, until_s: float | None) -> list[Committed | Conflict | Exception]:
        return self._transactions.run(partial(write, changes=changes, now_ms=self.now_ms()), until_s=until_s)

    def _write_alone(
        self, change: Change, began_s: float, failure: errors.StoreError
    ) -> Committed | Conflict | Exception:
        """What holds up one change for long must not hold up the others, and not all of them together for longer."""
        if time.monotonic() > began_s + 2 * self._timeout_s:
            return failure
        try:
            (outcome,) = self._write([change], until_s=began_s + self._timeout_s)
        except errors.StoreError as error:
            return error
        return outcome

    # The outbox

    def claim_unrelayed(self, *, limit: int, until_ms: int) -> list[Unrelayed]:
        waiting = self._run(partial(outbox.waiting, now_ms=self.now_ms(), limit=limit))
        if not waiting:
            return []
        return self._run(partial(outbox.claim, process_ids=waiting, now_ms=self.now_ms(), until_ms=until_ms))

    def mark_relayed(self, process_id: str, *, last_number: int) -> None:
        now_ms = self.now_ms()
        self._run(partial(outbox.mark, process_id=process_id, last_number=last_number, now_ms=now_ms))

    def unrelayed(self) -> tuple[int, int | None]:
        return self._run(outbox.backlog)

    # Clocks

    def due(self, *, now_ms: int, limit: int, with_leases: bool = True) -> list[Due]:
        """A row that somebody is just writing is passed over where the database can do that: the next check finds it.

        The locks are gone when this returns, so it keeps two checkers from waiting for each other, and not from finding
        the same; the version of the record decides between them. Nothing is locked in the application's transaction.
        """
        skip_locked = not self._transactions.is_joined
        return self._run(
            partial(checks.due, now_ms=now_ms, limit=limit, with_leases=with_leases, skip_locked=skip_locked)
        )

    def discard(self, due: Sequence[Due], *, until_ms: int | None) -> None:
        self._run(partial(checks.discard, items=due, until_ms=until_ms))

    def renew(self, leases: Sequence[LeaseKey], *, until_ms: int) -> LastCheck:
        return self._run(partial(checks.renew, leases=leases, until_ms=until_ms))

    def last_check(self) -> LastCheck:
        return self._run(checks.last_check)

    def stats(self) -> Stats:
        return self._run(partial(totals.stats, now_ms=self.now_ms()))

    def add_untracked(self, counts: Mapping[str, int]) -> None:
        self._run(partial(totals.add_untracked, counts=counts))

    def note_check(self, check: LastCheck) -> None:
        self._run(partial(checks.note_check, check=check))
        if not self._transactions.is_joined:
            self._fold_totals()

    def _fold_totals(self) -> None:
        """One try, which waits for nobody longer than a statement may: a later check does what this one does not."""
        with suppress(errors.StoreError):
            if self._run(self._watch.has_many_new):
                self._watch.folded_id = self._transactions.run(totals.fold, until_s=time.monotonic())
