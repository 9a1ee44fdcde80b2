"""Finding processes: each question by the index that answers it in the order asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, or_, select, union_all, update

from trellis_celery import errors
from trellis_celery.domain.queries import Finished, Position, ProcessFilter, ProcessSummary
from trellis_celery.logs import EventLogger
from trellis_celery.stores import classes
from trellis_celery.stores.digests import digest_number
from trellis_celery.stores.sqlalchemy.archive_models import ArchivedProcessRow
from trellis_celery.stores.sqlalchemy.models import PROCESSES, ProcessRow
from trellis_celery.stores.sqlalchemy.records import read_summary

if TYPE_CHECKING:
    from trellis_celery.stores.sqlalchemy.typing import AnyRow, AnySelect

logger = EventLogger(__name__)

#: A table of processes: of the store, or of the archive.
ListedTable = type[ProcessRow] | type[ArchivedProcessRow]

_MARK_ARCHIVED = (
    update(PROCESSES)
    .where(ProcessRow.id == bindparam("of_id"), ProcessRow.since_ms == bindparam("of_since_ms"))
    .values(is_archived=1)
)


def list_processes(
    connection: Connection,
    only: ProcessFilter,
    *,
    limit: int,
    after: Position | None,
    table: ListedTable = ProcessRow,
) -> list[ProcessSummary]:
    """A damaged process is logged and left out: it must not hide the others.

    What only has the same digest as what was asked for is left out here.
    """
    found: list[ProcessSummary] = []
    while len(found) < limit:
        wanted = limit - len(found)
        rows = connection.execute(statement(table, only, limit=wanted, after=after)).all()
        found.extend(filter(only.matches, _readable(rows)))
        if len(rows) < wanted:
            break
        after = Position(rows[-1].started_at_ms, rows[-1].id)
    return found


def statement(table: ListedTable, only: ProcessFilter, *, limit: int, after: Position | None) -> AnySelect:
    numbers = classes.numbers_for(only)
    conditions = [*_equalities(table, only), *_bounds(table, only, after)]
    if only.aggregate_id is not None:
        return _newest(table, [*_of_aggregate(table, only, numbers), *conditions], limit)
    # One index range for each class, each in the order of the list; the database merges them.
    parts = [_newest(table, [table.class_number == number, *conditions], limit).subquery() for number in numbers]
    merged = union_all(*(select(part) for part in parts)).subquery()
    return select(merged).order_by(merged.c.started_at_ms.desc(), merged.c.id.desc()).limit(limit)


def _newest(table: ListedTable, conditions: list[ColumnElement[bool]], limit: int) -> AnySelect:
    columns = (
        table.id,
        table.tenant_id,
        table.process_type,
        table.aggregate_type,
        table.aggregate_id,
        table.counts,
        table.started_at_ms,
    )
    return select(*columns).where(*conditions).order_by(table.started_at_ms.desc(), table.id.desc()).limit(limit)


def _of_aggregate(table: ListedTable, only: ProcessFilter, numbers: list[int]) -> Iterable[ColumnElement[bool]]:
    assert only.aggregate_id is not None
    yield table.aggregate_digest == digest_number(only.aggregate_id)
    if len(numbers) < len(classes.CLASSES):
        yield table.class_number.in_(numbers)


def _equalities(table: ListedTable, only: ProcessFilter) -> Iterable[ColumnElement[bool]]:
    """By digest alone: a planner that is told of the text as well takes the two for independent.

    It then expects next to nothing, and reads and sorts all that a tenant has for one page.
    """
    if only.process_type is not None:
        yield table.type_digest == digest_number(only.process_type)
    if only.tenant_id is not None:
        yield table.tenant_digest == digest_number(only.tenant_id)


def _bounds(table: ListedTable, only: ProcessFilter, after: Position | None) -> Iterable[ColumnElement[bool]]:
    if only.started_from_ms is not None:
        yield table.started_at_ms >= only.started_from_ms
    if only.started_before_ms is not None:
        yield table.started_at_ms < only.started_before_ms
    if after is not None:
        # In this form every database takes it as a bound of the index.
        yield table.started_at_ms <= after.started_at_ms
        yield or_(table.started_at_ms < after.started_at_ms, table.id < after.process_id)


def _readable(rows: Iterable[AnyRow]) -> Iterable[ProcessSummary]:
    for row in rows:
        try:
            yield read_summary(row)
        except errors.CorruptRecord:
            logger.exception("process_unusable", extra={"process_id": row.id})


def finished(
    connection: Connection, *, is_archived: bool, until_ms: int | None, limit: int, after: Finished | None
) -> list[Finished]:
    """Longest ago first."""
    conditions: list[ColumnElement[bool]] = [ProcessRow.is_archived == int(is_archived)]
    if until_ms is not None:
        conditions.append(ProcessRow.since_ms <= until_ms)
    if after is not None:
        conditions.append(ProcessRow.since_ms >= after.since_ms)
        conditions.append(
            or_(
                ProcessRow.since_ms > after.since_ms,
                and_(ProcessRow.since_ms == after.since_ms, ProcessRow.id > after.process_id),
            )
        )
    in_order = (ProcessRow.since_ms, ProcessRow.id)
    rows = connection.execute(select(*in_order).where(*conditions).order_by(*in_order).limit(limit))
    return [Finished(since_ms, process_id) for since_ms, process_id in rows if since_ms is not None]


def mark_archived(connection: Connection, finished: Sequence[Finished]) -> None:
    in_order = sorted(finished, key=lambda each: each.process_id)
    if in_order:
        values = [{"of_id": each.process_id, "of_since_ms": each.since_ms} for each in in_order]
        connection.execute(_MARK_ARCHIVED, values)


def count_finished(connection: Connection, *, is_archived: bool) -> int:
    counted = select(func.count()).select_from(ProcessRow).where(ProcessRow.is_archived == int(is_archived))
    return connection.scalar(counted) or 0
