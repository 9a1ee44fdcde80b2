"""What is counted while changes are written: how many events of each kind there ever were.

A row that everybody updates would be in everybody's way, so each transaction adds rows of its own. They are put
together afterwards, by whoever checks: so the table has few more rows than there are totals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Executable, delete, func, insert, select, text, update

from trellis_celery import errors
from trellis_celery.domain.queries import ProcessGroup, Stats
from trellis_celery.stores import classes
from trellis_celery.stores.sqlalchemy.models import ProcessRow, StepRow, TotalRow
from trellis_celery.stores.sqlalchemy.types import MYSQL
from trellis_celery.stores.tallies import (
    NO_TYPE,
    Tally,
    Total,
    events_of,
    lateness_of,
    tallies_of_untracked,
    untracked_of,
)

if TYPE_CHECKING:
    from trellis_celery.stores.sqlalchemy.typing import AnySelect

#: Nobody looks for rows to put together before so many have been added.
FEWEST = 1_000
#: So many of the oldest rows are looked at, and so many of them put together at a time. Of more totals none would be.
SEEN, MOST = 20_000, 5_000
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


class Watch:
    """Remembers up to which row all are put together, so that a look costs little for each row that is added."""

    def __init__(self) -> None:
        self.folded_id = 0

    def has_many_new(self, connection: Connection) -> bool:
        """Whether it may be worth while to `fold`. Tells so once, whatever comes of it."""
        last_id = _last_id(connection)
        if 0 <= last_id - self.folded_id < FEWEST:  # numbers may begin again, where the last row was removed
            return False
        self.folded_id = last_id
        return True


def add_untracked(connection: Connection, counts: Mapping[str, int]) -> None:
    added = Totals()
    added.add(NO_TYPE, tallies_of_untracked(counts))
    added.write(connection)


def fold(connection: Connection) -> int:
    """Put rows of one total together; return up to which row all are. 0: there may be more of them.

    Nothing is locked to look, and what others have not committed yet is not seen. Raises StoreUnavailable if somebody
    else has just put the same rows together.
    """
    if connection.dialect.name == "sqlite":  # see `rows`
        connection.execute(update(TotalRow).where(TotalRow.id == 0).values(amount=TotalRow.amount))
    repeated = connection.execute(_repeated()).all()
    sums = Totals()
    for _, process_type, step_name, name, amount in repeated:
        sums.add(process_type, [Tally(step_name, name, amount)])
    _remove(connection, [row.id for row in repeated])
    sums.write(connection)
    return 0 if len(repeated) == MOST else _last_id(connection)


def _last_id(connection: Connection) -> int:
    return connection.scalar(select(func.max(TotalRow.id))) or 0


def _repeated() -> AnySelect:
    """Rows whose total has others, those with the most of them first."""
    oldest = select(TotalRow.id, *_GROUP, TotalRow.amount).order_by(TotalRow.id).limit(SEEN).subquery()
    group = (oldest.c.process_type, oldest.c.step_name, oldest.c.name)
    many = func.count().over(partition_by=group).label("many")
    counted = select(oldest.c.id, *group, oldest.c.amount, many).subquery()
    columns = (counted.c.id, counted.c.process_type, counted.c.step_name, counted.c.name, counted.c.amount)
    return select(*columns).where(counted.c.many > 1).order_by(counted.c.many.desc()).limit(MOST)


def _remove(connection: Connection, ids: Sequence[int]) -> None:
    for start in range(0, len(ids), _IDS_PER_STATEMENT):
        some = ids[start : start + _IDS_PER_STATEMENT]
        if connection.execute(_removal(some, connection.dialect.name)).rowcount != len(some):
            raise errors.StoreUnavailable("another program has put the same totals together")


def _removal(ids: Sequence[int], dialect_name: str) -> Executable:
    if dialect_name not in MYSQL:
        return delete(TotalRow).where(TotalRow.id.in_(ids))
    # For a plain list it may go through the whole table, and wait for every row that others have not committed yet.
    listed = " UNION ALL ".join(f"SELECT {id_:d} AS id" for id_ in ids)
    return text(
        f"DELETE total FROM ({listed}) AS listed"
        f" STRAIGHT_JOIN {TotalRow.__tablename__} AS total ON total.id = listed.id"
    )


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
