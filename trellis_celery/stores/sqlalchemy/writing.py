"""Writing changes: which of them hold, and what follows for the rows.

The rows of the processes and steps are locked first, so what is read here is true until the end of the transaction. All
that a batch writes goes to the database in a few statements, however many changes there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, insert, select, update

from trellis_celery import errors
from trellis_celery.domain.process import ProcessState, process_event
from trellis_celery.ports import Change, Committed, Conflict
from trellis_celery.stores import classes, codec
from trellis_celery.stores.sqlalchemy.models import PROCESSES, STEPS, LogRow, ProcessRow, StepRow
from trellis_celery.stores.sqlalchemy.records import Values, dump_counts, key_of, live_key, load_counts, read_step
from trellis_celery.stores.sqlalchemy.rows import lock_processes, step_rows
from trellis_celery.stores.sqlalchemy.totals import Totals
from trellis_celery.stores.tallies import tallies_of

if TYPE_CHECKING:
    from trellis_celery.stores.sqlalchemy.typing import AnyRow

Outcome = Committed | Conflict | Exception


def write(connection: Connection, changes: Sequence[Change], *, now_ms: int) -> list[Outcome]:
    """Write the changes whose versions hold; the outcomes in order."""
    batch = _Batch(connection, changes, now_ms)
    outcomes = [batch.apply(change) for change in changes]
    batch.flush()
    return outcomes


class _Head:
    """A step as it is now, what this batch changes included."""

    def __init__(self, row: AnyRow) -> None:
        self._row = row
        self.version: int = row.version
        self.token: str = row.token
        self._last: Change | None = None
        #: What is to be written.
        self.values: Values = {}

    def outcome_of_conflict(self) -> Conflict | Exception:
        try:
            return Conflict(self.record())
        except errors.CorruptRecord as error:
            return error

    def record(self) -> Any:
        """Raises CorruptRecord."""
        return read_step(self._row) if self._last is None else self._last.transition.after.stored_as(self.version)

    def put(self, change: Change, now_ms: int) -> None:
        self._last = change
        self.version += 1
        self.token = change.token
        self.values.update(_step_values(change, now_ms), version=self.version)


class _Ledger:
    """A process's counts, and what follows from them."""

    def __init__(self, row: AnyRow) -> None:
        """Raises CorruptRecord."""
        self._row = row
        self._counts = load_counts(row.id, row.counts)
        self._state_at_first = self.state
        self._is_announced = False
        self.is_written = False

    @property
    def state(self) -> ProcessState:
        return classes.CLASSES[classes.class_of(self._counts)].state

    @property
    def process_type(self) -> str:
        process_type: str = self._row.process_type
        return process_type

    def count(self, change: Change) -> None:
        self.is_written = True
        self._is_announced |= change.is_announced and bool(change.transition.events)
        left, entered = classes.moved(change.transition.before, change.transition.after)
        for bits, difference in ((left, -1), (entered, 1)):
            for bit in bits:
                self._counts[bit] = self._counts.get(bit, 0) + difference

    def live_key(self) -> str | None:
        """The business key that the process holds, or takes if nobody else holds it."""
        if self.state.is_terminal:
            return None
        if self.state is self._state_at_first:
            held: str | None = self._row.live_key
            return held
        return live_key(key_of(self._row))

    def values(self, now_ms: int) -> Values:
        since_ms = max(now_ms, self._row.last_since_ms + 1) if self.state.is_terminal else None
        waits_since_ms = self._row.outbox_at_ms
        return {
            "of_id": self._row.id,
            "class_number": classes.class_of(self._counts),
            "counts": dump_counts(self._counts),
            "since_ms": since_ms,
            "is_archived": None if since_ms is None else 0,
            "last_since_ms": self._row.last_since_ms if since_ms is None else since_ms,
            "outbox_at_ms": now_ms if self._is_announced and waits_since_ms is None else waits_since_ms,
        }

    @property
    def held_key(self) -> str | None:
        held: str | None = self._row.live_key
        return held


class _Batch:
    def __init__(self, connection: Connection, changes: Sequence[Change], now_ms: int) -> None:
        self._connection = connection
        self._now_ms = now_ms
        self._ledgers = {
            process_id: _ledger_or_error(row)
            for process_id, row in lock_processes(connection, (change.process_id for change in changes)).items()
        }
        columns = (StepRow.version, StepRow.token, StepRow.record)
        keys = (change.key for change in changes)
        self._heads = {key: _Head(row) for key, row in step_rows(connection, keys, *columns, lock=True).items()}
        self._log: list[Values] = []
        self._totals = Totals()

    def apply(self, change: Change) -> Outcome:
        ledger, head = self._ledgers.get(change.process_id), self._heads.get(change.key)
        if ledger is None or head is None:
            return Conflict(None)
        if isinstance(ledger, errors.CorruptRecord):
            return ledger
        before = change.transition.before
        if head.version == before.version + 1 and head.token == change.token:
            step = change.transition.after.stored_as(head.version)
            return Committed(step, ledger.state, ledger.state)
        if head.version != before.version:
            return head.outcome_of_conflict()
        state_before = ledger.state
        head.put(change, self._now_ms)
        ledger.count(change)
        end = process_event(state_before, ledger.state, change.occurred_at_ms)
        events = change.transition.events if end is None else (*change.transition.events, end)
        entries = map(codec.dump_event, events)
        self._log.extend({"process_id": change.process_id, "entry": entry} for entry in entries)
        self._totals.add(ledger.process_type, tallies_of(events, change.lateness_ms))
        return Committed(head.record(), state_before, ledger.state)

    def flush(self) -> None:
        self._write_steps()
        if self._log:
            self._connection.execute(insert(LogRow), self._log)
        self._totals.write(self._connection)
        self._write_processes()

    def _write_steps(self) -> None:
        by_columns: dict[tuple[str, ...], list[Values]] = {}
        for key, head in self._heads.items():
            if head.values:
                of_key = {"of_process": key.process_id, "of_name": key.step_name}
                by_columns.setdefault(tuple(sorted(head.values)), []).append({**head.values, **of_key})
        for columns, values in by_columns.items():
            statement = (
                update(STEPS)
                .where(StepRow.process_id == bindparam("of_process"), StepRow.name == bindparam("of_name"))
                .values({column: bindparam(column) for column in columns})
            )
            self._connection.execute(statement, values)

    def _write_processes(self) -> None:
        ledgers = [ledger for ledger in self._ledgers.values() if isinstance(ledger, _Ledger) and ledger.is_written]
        if not ledgers:
            return
        keys = {ledger: ledger.live_key() for ledger in ledgers}
        # Those that let go of a key come before those that take one: it may be the same.
        taking = [ledger for ledger in ledgers if keys[ledger] not in (None, ledger.held_key)]
        self._update_processes(
            {**ledger.values(self._now_ms), "live_key": keys[ledger]} for ledger in ledgers if ledger not in taking
        )
        if taking:
            held = select(ProcessRow.live_key).where(ProcessRow.live_key.in_([keys[ledger] for ledger in taking]))
            self._update_processes(
                _as_free_keys(
                    ({**ledger.values(self._now_ms), "live_key": keys[ledger]} for ledger in taking),
                    set(self._connection.scalars(held)),
                )
            )

    def _update_processes(self, values: Iterable[Values]) -> None:
        columns = ("class_number", "counts", "since_ms", "is_archived", "last_since_ms", "outbox_at_ms", "live_key")
        statement = (
            update(PROCESSES)
            .where(ProcessRow.id == bindparam("of_id"))
            .values({column: bindparam(column) for column in columns} | {"version": ProcessRow.version + 1})
        )
        if rows := list(values):
            self._connection.execute(statement, rows)


def _as_free_keys(values: Iterable[Values], held: set[str | None]) -> Iterator[Values]:
    """Each key for the first that takes it, unless it is held."""
    for row in values:
        if row["live_key"] in held:
            yield {**row, "live_key": None}
        else:
            held.add(row["live_key"])
            yield row


def _ledger_or_error(row: AnyRow) -> _Ledger | errors.CorruptRecord:
    try:
        return _Ledger(row)
    except errors.CorruptRecord as error:
        return error


def _step_values(change: Change, now_ms: int) -> Values:
    """What is left out stays as it is: a message, and a lease that only its worker's renewals move."""
    before, after = change.transition.before, change.transition.after
    values: Values = {"token": change.token, "record": codec.dump_step(after), "deadline_ms": after.deadline_ms}
    if not after.needs_message:
        values["message"] = None
    elif change.message is not None:
        values["message"] = change.message
    old_lease = before.attempt if before.is_leased else None
    new_lease = after.attempt if after.is_leased else None
    if old_lease != new_lease:
        values["lease_attempt"] = new_lease
        values["lease_until_ms"] = None if new_lease is None else now_ms + change.lease_ms
    return values
