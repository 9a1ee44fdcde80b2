"""The outbox: the ends of processes' logs that other services have not been told of.

The log itself is what is relayed; the row of the process says from where on, and when. The row is locked by everybody
who writes to the log, so the numbers of the entries have their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, select, update

from trellis_celery import errors
from trellis_celery.logs import EventLogger
from trellis_celery.ports import Unrelayed
from trellis_celery.stores import codec
from trellis_celery.stores.sqlalchemy.models import LogRow, ProcessRow
from trellis_celery.stores.sqlalchemy.records import key_of
from trellis_celery.stores.sqlalchemy.rows import lock_processes

if TYPE_CHECKING:
    from trellis_celery.stores.sqlalchemy.typing import AnyRow

logger = EventLogger(__name__)

#: So many entries of one process are relayed at a time.
MOST_EVENTS = 1_000


def waiting(connection: Connection, *, now_ms: int, limit: int) -> Sequence[str]:
    """The processes that wait longest."""
    due = select(ProcessRow.id).where(ProcessRow.outbox_at_ms <= now_ms)
    return connection.scalars(due.order_by(ProcessRow.outbox_at_ms).limit(limit)).all()


def claim(connection: Connection, *, process_ids: Sequence[str], now_ms: int, until_ms: int) -> list[Unrelayed]:
    """Those of the processes that wait still."""
    rows = lock_processes(connection, process_ids)
    claimed = [row for row in rows.values() if row.outbox_at_ms is not None and row.outbox_at_ms <= now_ms]
    if claimed:
        ids = [row.id for row in claimed]
        connection.execute(update(ProcessRow).where(ProcessRow.id.in_(ids)).values(outbox_at_ms=until_ms))
    return list(_read(connection, claimed))


def _read(connection: Connection, rows: Sequence[AnyRow]) -> Iterator[Unrelayed]:
    for row in rows:
        entries = (
            select(LogRow.entry)
            .where(LogRow.process_id == row.id)
            .order_by(LogRow.id)
            .offset(row.relayed)
            .limit(MOST_EVENTS)
        )
        try:
            events = [codec.load_event(entry) for entry in connection.scalars(entries)]
            yield Unrelayed(process_id=row.id, key=key_of(row), first_number=row.relayed + 1, events=events)
        except errors.CorruptRecord:  # it must not keep those of others from being relayed; its claim runs out
            logger.exception("log_not_relayed", extra={"process_id": row.id})


def mark(connection: Connection, process_id: str, *, last_number: int, now_ms: int) -> None:
    row = lock_processes(connection, [process_id]).get(process_id)
    if row is None:
        return
    relayed = max(row.relayed, last_number)
    count = connection.scalar(select(func.count()).where(LogRow.process_id == process_id)) or 0
    outbox_at_ms = now_ms if count > relayed else None
    connection.execute(
        update(ProcessRow).where(ProcessRow.id == process_id).values(relayed=relayed, outbox_at_ms=outbox_at_ms)
    )


def backlog(connection: Connection) -> tuple[int, int | None]:
    entries = select(func.count(), func.min(ProcessRow.outbox_at_ms)).where(ProcessRow.outbox_at_ms.is_not(None))
    count, first_ms = connection.execute(entries).one()
    return count, first_ms
