"""What is counted while changes are written: how many events of each kind there ever were.

A row that everybody updates would be in everybody's way, so each transaction adds rows of its own. They are put
together afterwards, some at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, delete, func, insert, select, update

from trellis_celery.domain.queries import ProcessGroup, Stats
from trellis_celery.stores import classes
from trellis_celery.stores.sqlalchemy.models import ProcessRow, StepRow, TotalRow
from trellis_celery.stores.tallies import (
    NO_TYPE,
    Tally,
    Total,
    events_of,
    lateness_of,
    tallies_of_untracked,
    untracked_of,
)

#: So many rows are put together at a time, and not before there may be so many.
FOLD_MOST, FOLD_FEWEST = 5_000, 1_000
_IDS_PER_STATEMENT = 500

_GROUP = (TotalRow.process_type, TotalRow.step_name, TotalRow.name)


class Totals:
    """What one transaction adds."""

    def __init__(self) -> None:
        self._amounts: Counter[tuple[str, str, str]] = Counter()

    def add(self, process_type: str, tallies: Iterable[Tally]) -> None:
        for step_name, name, amount in tallies:
            self._amounts[process_type, step_name, name] += amount

    def write(self, connection: Connection) -> None:
        rows = [
            {"process_type": process_type, "step_name": step_name, "name": name, "amount": amount}
            for (process_type, step_name, name), amount in self._amounts.items()
        ]
        if rows:
            connection.execute(insert(TotalRow), rows)


def are_many(connection: Connection) -> bool:
    """Whether it may be worth while to `fold`."""
    first, last = connection.execute(select(func.min(TotalRow.id), func.max(TotalRow.id))).one()
    return first is not None and last - first >= FOLD_FEWEST


def add_untracked(connection: Connection, counts: Mapping[str, int]) -> None:
    added = Totals()
    added.add(NO_TYPE, tallies_of_untracked(counts))
    added.write(connection)


def fold(connection: Connection) -> None:
    """Put the oldest rows of each total together, if that makes them much fewer."""
    if connection.dialect.name == "sqlite":  # see `rows`
        connection.execute(update(TotalRow).where(TotalRow.id == 0).values(amount=TotalRow.amount))
    oldest = select(TotalRow.id, *_GROUP, TotalRow.amount).order_by(TotalRow.id).limit(FOLD_MOST)
    rows = connection.execute(oldest.with_for_update(skip_locked=connection.dialect.name == "postgresql")).all()
    sums: dict[str, Totals] = {}
    groups = set()
    for _, process_type, step_name, name, amount in rows:
        groups.add((process_type, step_name, name))
        sums.setdefault(process_type, Totals()).add(process_type, [Tally(step_name, name, amount)])
    if len(groups) > len(rows) // 2:
        return
    ids = [row.id for row in rows]
    for start in range(0, len(ids), _IDS_PER_STATEMENT):
        connection.execute(delete(TotalRow).where(TotalRow.id.in_(ids[start : start + _IDS_PER_STATEMENT])))
    for total in sums.values():
        total.write(connection)


def stats(connection: Connection, *, now_ms: int) -> Stats:
    rows = connection.execute(select(*_GROUP, func.sum(TotalRow.amount)).group_by(*_GROUP)).all()
    totals = [Total(process_type, step_name, name, int(amount)) for process_type, step_name, name, amount in rows]
    due = [
        connection.scalar(select(func.count()).where(column <= now_ms)) or 0
        for column in (StepRow.deadline_ms, StepRow.lease_until_ms)
    ]
    return Stats(
        processes=_processes(connection),
        due=sum(due),
        events=events_of(totals),
        lateness=lateness_of(totals),
        untracked=untracked_of(totals),
    )


def _processes(connection: Connection) -> dict[ProcessGroup, int]:
    """Counted in an index, which knows types by their digests only."""
    group = (ProcessRow.type_digest, ProcessRow.class_number)
    counts = connection.execute(select(*group, func.count()).group_by(*group)).all()
    types = {
        digest: connection.scalar(select(ProcessRow.process_type).where(ProcessRow.type_digest == digest).limit(1))
        for digest in {row.type_digest for row in counts}
    }
    return {
        ProcessGroup(process_type, *classes.CLASSES[number]): count
        for digest, number, count in counts
        if (process_type := types[digest]) is not None
    }
