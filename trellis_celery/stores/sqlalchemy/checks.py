"""What a check reads and moves: deadlines, leases, and the note of the last check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Update, bindparam, exc, insert, select, update

from trellis_celery.ports import Due, LastCheck, LeaseKey, StepKey
from trellis_celery.stores.sqlalchemy.models import ONLY_ROW, STEPS, CheckRow, StepRow
from trellis_celery.stores.sqlalchemy.types import MYSQL

if TYPE_CHECKING:
    from trellis_celery.stores.sqlalchemy.typing import AnySelect

#: Older servers of these kinds do not know SKIP LOCKED.
_FIRST_MYSQL_THAT_SKIPS = (8, 0, 1)
_FIRST_MARIADB_THAT_SKIPS = (10, 6)

_THE_STEP = (StepRow.process_id == bindparam("of_process"), StepRow.name == bindparam("of_name"))
_ITS_LEASE = (*_THE_STEP, StepRow.lease_attempt == bindparam("of_attempt"))
_DISCARD_DEADLINE = (
    update(STEPS)
    .where(*_THE_STEP, StepRow.deadline_ms == bindparam("since_ms"))
    .values(deadline_ms=bindparam("until_ms"))
)
_DISCARD_LEASE = (
    update(STEPS)
    .where(*_ITS_LEASE, StepRow.lease_until_ms == bindparam("since_ms"))
    .values(lease_until_ms=bindparam("until_ms"))
)
_RENEW = (
    update(STEPS).where(*_ITS_LEASE, StepRow.lease_until_ms.is_not(None)).values(lease_until_ms=bindparam("until_ms"))
)
_LAST_CHECK = select(CheckRow.at_ms, CheckRow.checker, CheckRow.leases_count_from_ms).where(CheckRow.id == ONLY_ROW)


def due(connection: Connection, *, now_ms: int, limit: int, with_leases: bool, skip_locked: bool) -> list[Due]:
    def read(statement: AnySelect) -> Sequence[Any]:
        if skip_locked and _can_skip_locked(connection):
            statement = statement.with_for_update(skip_locked=True)
        return connection.execute(statement.limit(limit)).all()

    deadlines = (
        select(StepRow.process_id, StepRow.name, StepRow.deadline_ms)
        .where(StepRow.deadline_ms <= now_ms)
        .order_by(StepRow.deadline_ms)
    )
    found = [Due(StepKey(process_id, name), since_ms) for process_id, name, since_ms in read(deadlines)]
    if with_leases:
        leases = (
            select(StepRow.process_id, StepRow.name, StepRow.lease_until_ms, StepRow.lease_attempt)
            .where(StepRow.lease_until_ms <= now_ms)
            .order_by(StepRow.lease_until_ms)
        )
        found += [Due(StepKey(id_, name), since_ms, attempt) for id_, name, since_ms, attempt in read(leases)]
    return found


def _can_skip_locked(connection: Connection) -> bool:
    dialect = connection.dialect
    if dialect.name not in MYSQL:
        return dialect.name == "postgresql"
    first = _FIRST_MARIADB_THAT_SKIPS if getattr(dialect, "is_mariadb", False) else _FIRST_MYSQL_THAT_SKIPS
    return (dialect.server_version_info or ()) >= first


def discard(connection: Connection, items: Sequence[Due], *, until_ms: int | None) -> None:
    in_order = sorted(items, key=lambda item: item.key)
    for statement, is_lease in ((_DISCARD_DEADLINE, False), (_DISCARD_LEASE, True)):
        _execute_each(
            connection,
            statement,
            [
                {
                    "of_process": item.key.process_id,
                    "of_name": item.key.step_name,
                    "of_attempt": item.lapsed_attempt,
                    "since_ms": item.since_ms,
                    "until_ms": until_ms,
                }
                for item in in_order
                if (item.lapsed_attempt is not None) == is_lease
            ],
        )


def renew(connection: Connection, leases: Sequence[LeaseKey], *, until_ms: int) -> LastCheck:
    values = [
        {"of_process": process_id, "of_name": name, "of_attempt": attempt, "until_ms": until_ms}
        for process_id, name, attempt in sorted(leases)
    ]
    _execute_each(connection, _RENEW, values)
    return last_check(connection)


def _execute_each(connection: Connection, statement: Update, values: Sequence[dict[str, Any]]) -> None:
    if values:
        connection.execute(statement, values)


def last_check(connection: Connection) -> LastCheck:
    row = connection.execute(_LAST_CHECK).one_or_none()
    if row is None:
        return LastCheck()
    return LastCheck(row.at_ms, row.checker.decode("utf-8", "replace"), row.leases_count_from_ms)


def note_check(connection: Connection, check: LastCheck) -> None:
    values = {
        "at_ms": check.at_ms,
        "checker": check.by.encode("utf-8", "replace"),
        "leases_count_from_ms": check.leases_count_from_ms,
    }
    noted = update(CheckRow).where(CheckRow.id == ONLY_ROW).values(values)
    if connection.execute(noted).rowcount:
        return
    try:
        with connection.begin_nested():
            connection.execute(insert(CheckRow), {"id": ONLY_ROW, **values})
    except exc.IntegrityError:  # another was the first
        connection.execute(noted)
