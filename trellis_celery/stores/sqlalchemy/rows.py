"""Reading and locking rows by their keys.

All writers lock in one order, so that none of them waits in a circle: the rows of processes before those of steps, each
kind in the order of the ids and names. SQLite has no locks on rows; there the first statement of a transaction that
writes has to be a write, because nobody who has read before is let through to writing while another writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, and_, delete, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute

from trellis_celery.ports import StepKey
from trellis_celery.stores.sqlalchemy.models import LogRow, ProcessRow, StepRow
from trellis_celery.stores.sqlalchemy.records import is_possible

if TYPE_CHECKING:
    from trellis_celery.stores.sqlalchemy.typing import AnyRow

T = TypeVar("T")

#: So many processes are asked for in one statement: SQLite does not take more than 1000 alternatives.
_PROCESSES_PER_STATEMENT = 200

_WRITTEN_COLUMNS = (
    ProcessRow.id,
    ProcessRow.tenant_id,
    ProcessRow.process_type,
    ProcessRow.aggregate_type,
    ProcessRow.aggregate_id,
    ProcessRow.counts,
    ProcessRow.live_key,
    ProcessRow.version,
    ProcessRow.token,
    ProcessRow.since_ms,
    ProcessRow.last_since_ms,
    ProcessRow.outbox_at_ms,
    ProcessRow.relayed,
)


def lock_processes(connection: Connection, process_ids: Iterable[str]) -> dict[str, AnyRow]:
    """The rows of those that exist, which nobody else writes until the end of the transaction."""
    found: dict[str, AnyRow] = {}
    for ids in portions(sorted(set(process_ids))):
        if connection.dialect.name == "sqlite":
            unchanged = update(ProcessRow).where(ProcessRow.id.in_(ids)).values(version=ProcessRow.version)
            connection.execute(unchanged)
        statement = select(*_WRITTEN_COLUMNS).where(ProcessRow.id.in_(ids)).order_by(ProcessRow.id).with_for_update()
        found.update((row.id, row) for row in connection.execute(statement))
    return found


def step_rows(
    connection: Connection, keys: Iterable[StepKey], *columns: InstrumentedAttribute[Any], lock: bool = False
) -> dict[StepKey, AnyRow]:
    """These columns of the steps that exist."""
    by_process = [
        (process_id, [key.step_name for key in group])
        for process_id, group in groupby(sorted(set(filter(is_possible, keys))), key=lambda key: key.process_id)
    ]
    found: dict[StepKey, AnyRow] = {}
    for portion in portions(by_process):
        statement = (
            select(StepRow.process_id, StepRow.name, *columns)
            .where(or_(*(and_(StepRow.process_id == id_, StepRow.name.in_(names)) for id_, names in portion)))
            .order_by(StepRow.process_id, StepRow.name)
        )
        rows = connection.execute(statement.with_for_update() if lock else statement)
        found.update((StepKey(row.process_id, row.name), row) for row in rows)
    return found


def delete_process(connection: Connection, process_id: str) -> None:
    """With its steps and log. Lock it first."""
    # SQLite removes what belongs to a row only if it is told to on every connection.
    connection.execute(delete(StepRow).where(StepRow.process_id == process_id))
    connection.execute(delete(LogRow).where(LogRow.process_id == process_id))
    connection.execute(delete(ProcessRow).where(ProcessRow.id == process_id))


def portions(items: Sequence[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while portion := list(islice(rest, _PROCESSES_PER_STATEMENT)):
        yield portion
