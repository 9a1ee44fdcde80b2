"""The archive of finished processes: whole batches in one transaction, and each process once.

A process that was archived before is replaced as a whole, if what comes is newer. Two that archive the same process at
the same time meet at its primary key; the later one begins again and finds it there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from sqlalchemy import Connection, delete, exc, insert, select

from trellis_celery import errors
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.identity import is_process_id
from trellis_celery.domain.process import Process
from trellis_celery.domain.queries import Position, ProcessFilter, ProcessSummary
from trellis_celery.ports import EVERYTHING, Chronicle
from trellis_celery.stores import codec
from trellis_celery.stores.sqlalchemy import listing, records
from trellis_celery.stores.sqlalchemy.archive_models import ArchivedEventRow, ArchivedProcessRow, ArchivedStepRow
from trellis_celery.stores.sqlalchemy.transactions import Bind, Transactions, transactions

T = TypeVar("T")

#: So often two archivers meet at one process before something else is the matter.
MAX_MEETINGS = 5
#: SQLite takes no more than 32,766 values in a statement; others slow down.
_IDS_PER_STATEMENT = 500


class SQLAlchemyArchive:
    """A `HistoryArchive` in PostgreSQL, MySQL, MariaDB or SQLite. Its tables are made by `schema.migrate`.

    bind
        An Engine, a sessionmaker, a Session or a Connection: as for `SQLAlchemyStore`.
    timeout_ms
        How long a call goes on trying while other transactions are in its way.
    """

    def __init__(self, bind: Bind, *, timeout_ms: int = 10_000) -> None:
        self._transactions = transactions(bind, timeout_ms=timeout_ms)

    @property
    def transactions(self) -> Transactions:
        """In which its statements run."""
        return self._transactions

    def _run(self, work: Callable[[Connection], T]) -> T:
        return self._transactions.run(work)

    # Write

    def write(self, chronicles: Sequence[Chronicle]) -> None:
        newest = {each.process.id: each for each in sorted(chronicles, key=lambda each: each.finished)}
        in_order = [newest[process_id] for process_id in sorted(newest)]
        for _ in range(MAX_MEETINGS):
            if self._run(partial(_write_all, in_order)):
                return
        raise errors.StoreError(f"another archiver was at the same processes {MAX_MEETINGS} times in a row")

    # Look

    def load(self, process_id: str) -> Process:
        if not is_process_id(process_id):
            raise errors.ProcessNotFound(process_id=process_id)
        process = select(ArchivedProcessRow.__table__).where(ArchivedProcessRow.id == process_id)
        steps = select(ArchivedStepRow.name, ArchivedStepRow.version, ArchivedStepRow.record).where(
            ArchivedStepRow.process_id == process_id
        )

        def work(connection: Connection) -> Process:
            if (row := connection.execute(process).one_or_none()) is None:
                raise errors.ProcessNotFound(process_id=process_id)
            return records.read_process(row, connection.execute(steps.order_by(ArchivedStepRow.position)).all())

        return self._run(work)

    def history(self, process_id: str) -> list[Event]:
        if not is_process_id(process_id):
            return []
        log = select(
            ArchivedEventRow.kind,
            ArchivedEventRow.step_name,
            ArchivedEventRow.attempt,
            ArchivedEventRow.occurred_at_ms,
            ArchivedEventRow.detail,
            ArchivedEventRow.by_whom,
        ).where(ArchivedEventRow.process_id == process_id)
        rows = self._run(lambda connection: connection.execute(log.order_by(ArchivedEventRow.number)).all())
        return [_read_event(process_id, row) for row in rows]

    def list_processes(
        self, only: ProcessFilter = EVERYTHING, *, limit: int = 50, after: Position | None = None
    ) -> list[ProcessSummary]:
        return self._run(partial(listing.list_processes, only=only, limit=limit, after=after, table=ArchivedProcessRow))


def _write_all(chronicles: Sequence[Chronicle], connection: Connection) -> bool:
    """False if somebody else has just written one of them."""
    known = _known(connection, [chronicle.process.id for chronicle in chronicles])
    to_write = [each for each in chronicles if known.get(each.process.id, -1) < each.finished.since_ms]
    if not to_write:
        return True
    replaced = [each.process.id for each in to_write if each.process.id in known]
    try:
        with connection.begin_nested():
            for table, column in (
                (ArchivedEventRow, ArchivedEventRow.process_id),
                (ArchivedStepRow, ArchivedStepRow.process_id),
                (ArchivedProcessRow, ArchivedProcessRow.id),
            ):
                for ids in _parts(replaced):
                    connection.execute(delete(table).where(column.in_(ids)))
            connection.execute(insert(ArchivedProcessRow), [_process_values(each) for each in to_write])
            connection.execute(insert(ArchivedStepRow), list(chain.from_iterable(map(_step_values, to_write))))
            connection.execute(insert(ArchivedEventRow), list(chain.from_iterable(map(_event_values, to_write))))
    except exc.IntegrityError:
        return False
    return True


def _known(connection: Connection, process_ids: Sequence[str]) -> dict[str, int]:
    """When those that are there already had been changed last. Nobody else replaces them meanwhile."""
    known: dict[str, int] = {}
    for ids in _parts(process_ids):
        rows = select(ArchivedProcessRow.id, ArchivedProcessRow.finished_at_ms).where(ArchivedProcessRow.id.in_(ids))
        known.update((row.id, row.finished_at_ms) for row in connection.execute(rows.with_for_update()))
    return known


def _parts(process_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(process_ids), _IDS_PER_STATEMENT):
        yield process_ids[start : start + _IDS_PER_STATEMENT]


# What stands in the rows


def _process_values(chronicle: Chronicle) -> dict[str, Any]:
    process = chronicle.process
    return {
        **records.listed_values(process),
        "state": process.state.value,
        "is_overdue": int(process.is_overdue),
        "finished_at_ms": chronicle.finished.since_ms,
        "details": codec.dump_json(dict(process.metadata)),
    }


def _step_values(chronicle: Chronicle) -> Iterator[dict[str, Any]]:
    process = chronicle.process
    for position, record in enumerate((process.own, *process.steps.values())):
        yield {
            "process_id": process.id,
            "position": position,
            "name": record.name,
            "state": record.state.value,
            "attempt": record.attempt,
            "started_at_ms": record.started_at_ms,
            "finished_at_ms": record.finished_at_ms,
            "worker": record.worker,
            "last_error": record.last_error,
            "version": record.version,
            "record": codec.dump_step(record),
        }


def _event_values(chronicle: Chronicle) -> Iterator[dict[str, Any]]:
    for number, event in enumerate(chronicle.events):
        yield {
            "process_id": chronicle.process.id,
            "number": number,
            "kind": event.kind.value,
            "step_name": event.step_name,
            "attempt": event.attempt,
            "occurred_at_ms": event.occurred_at_ms,
            "detail": event.detail,
            "by_whom": event.by or None,
        }


def _read_event(process_id: str, row: Any) -> Event:
    try:
        kind = EventKind(row.kind)
        return Event(kind, row.step_name, row.attempt, row.occurred_at_ms, row.detail, row.by_whom or "")
    except ValueError as error:
        raise errors.CorruptRecord(key=process_id, problem=str(error)) from None
