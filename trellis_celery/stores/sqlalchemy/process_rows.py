"""Whole processes in rows, for the repository: what is written of one, and how it is read back.

Who writes holds the process's row until the end of the transaction, so nobody else changes its steps meanwhile. Who
reads holds nothing and reads the process before its steps: the steps may be newer than the version that is read with
them, never older, and what is made from such a picture is refused as stale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, Update, bindparam, delete, exc, insert, or_, select, update

from trellis_celery import errors
from trellis_celery.domain.events import Event
from trellis_celery.domain.process import Process
from trellis_celery.logs import EventLogger
from trellis_celery.stores import codec
from trellis_celery.stores.sqlalchemy import records
from trellis_celery.stores.sqlalchemy.models import STEPS, LogRow, ProcessRow, StepRow
from trellis_celery.stores.sqlalchemy.records import Values, live_key
from trellis_celery.stores.sqlalchemy.rows import delete_process, lock_processes, portions

if TYPE_CHECKING:
    from trellis_celery.stores.sqlalchemy.typing import AnyRow

logger = EventLogger(__name__)

#: So often the holder of a business key is gone when it is looked for before something else is the matter.
MAX_MEETINGS = 5

_PROCESS = select(
    ProcessRow.id,
    ProcessRow.tenant_id,
    ProcessRow.process_type,
    ProcessRow.aggregate_type,
    ProcessRow.aggregate_id,
    ProcessRow.started_at_ms,
    ProcessRow.details,
    ProcessRow.version,
)
_STEPS = select(StepRow.process_id, StepRow.name, StepRow.version, StepRow.record)
_THE_STEP = (StepRow.process_id == bindparam("of_process"), StepRow.name == bindparam("of_name"))
#: What may change in the row of a step. Its clocks stay empty: trackers have them.
_STEP_COLUMNS = ("position", "version", "record")


# Write


def add(
    connection: Connection, process: Process, events: Sequence[Event], *, replaces: str | None, token: str, now_ms: int
) -> None:
    """Raises ProcessExists, DefinitionError."""
    key = live_key(process.key)
    if replaces is not None:
        held_by_it = (ProcessRow.id == replaces) & (ProcessRow.live_key == key)
        connection.execute(update(ProcessRow).where(held_by_it).values(live_key=None))
    values = {
        **records.process_values(process),
        **_changing_values(process, token=token, now_ms=now_ms, last_since_ms=0),
        "live_key": key,
    }
    if not _insert(connection, values):
        return
    if process.state.is_terminal:
        connection.execute(_update(process.id).values(live_key=None))
    connection.execute(insert(StepRow), list(_step_values(process).values()))
    _append(connection, process.id, events)


def _insert(connection: Connection, values: Values) -> bool:
    """False if this very call has written it before. Raises ProcessExists."""
    in_the_way = select(ProcessRow.id, ProcessRow.token).where(
        or_(ProcessRow.id == values["id"], ProcessRow.live_key == values["live_key"])
    )
    for _ in range(MAX_MEETINGS):
        try:
            with connection.begin_nested():
                connection.execute(insert(ProcessRow), values)
        except exc.IntegrityError:
            tokens = {row.id: row.token for row in connection.execute(in_the_way)}
        else:
            return True
        if values["id"] in tokens:
            if tokens[values["id"]] == values["token"]:
                return False
            raise errors.ProcessExists(process_id=values["id"])
        for holder in tokens:
            raise errors.ProcessExists(process_id=holder)
    raise errors.StoreError(f"who holds the business key of process {values['id']} cannot be seen")


def save(connection: Connection, process: Process, events: Sequence[Event], *, token: str, now_ms: int) -> None:
    """Raises StaleWrite, DefinitionError."""
    row = lock_processes(connection, [process.id]).get(process.id)
    if row is not None and (row.version, row.token) == (process.version, token):
        return  # this very call has written it before
    if row is None or row.version != process.version - 1:
        raise errors.StaleWrite(process_id=process.id, version=process.version)
    _save_steps(connection, process)
    _append(connection, process.id, events)
    values = {
        **records.listed_values(process),
        **_changing_values(process, token=token, now_ms=now_ms, last_since_ms=row.last_since_ms),
    }
    if process.state.is_terminal:
        values["live_key"] = None
    connection.execute(_update(process.id).values(values))
    key = live_key(process.key)
    if not process.state.is_terminal and row.live_key != key:
        _take_if_free(connection, process.id, key)


def _changing_values(process: Process, *, token: str, now_ms: int, last_since_ms: int) -> Values:
    since_ms = max(now_ms, last_since_ms + 1) if process.state.is_terminal else None
    return {
        "version": process.version,
        "token": token,
        "next_deadline_ms": process.next_deadline_ms,
        "since_ms": since_ms,
        "is_archived": None if since_ms is None else 0,
        "last_since_ms": last_since_ms if since_ms is None else since_ms,
    }


def _take_if_free(connection: Connection, process_id: str, key: str) -> None:
    if connection.scalar(select(ProcessRow.id).where(ProcessRow.live_key == key)) is not None:
        return
    try:
        with connection.begin_nested():
            connection.execute(_update(process_id).values(live_key=key))
    except exc.IntegrityError:
        return  # somebody else has just taken it


def _save_steps(connection: Connection, process: Process) -> None:
    """Write the rows that differ: most of many steps are as they were."""
    in_row = select(StepRow.name, StepRow.position, StepRow.version, StepRow.record)
    rows = connection.execute(in_row.where(StepRow.process_id == process.id))
    stored = {row.name: tuple(row)[1:] for row in rows}
    given = _step_values(process)
    changed = [
        {"of_process": process.id, "of_name": name, **{column: values[column] for column in _STEP_COLUMNS}}
        for name, values in given.items()
        if name in stored and stored[name] != tuple(values[column] for column in _STEP_COLUMNS)
    ]
    if changed:
        connection.execute(update(STEPS).where(*_THE_STEP), changed)
    if gone := [{"of_process": process.id, "of_name": name} for name in stored.keys() - given.keys()]:
        connection.execute(delete(STEPS).where(*_THE_STEP), gone)
    if new := [values for name, values in given.items() if name not in stored]:
        connection.execute(insert(StepRow), new)


def _step_values(process: Process) -> dict[str, Values]:
    """By name."""
    return {values["name"]: {**values, "deadline_ms": None} for values in records.step_values(process)}


def _append(connection: Connection, process_id: str, events: Sequence[Event]) -> None:
    if events:
        entries = [{"process_id": process_id, "entry": codec.dump_event(event)} for event in events]
        connection.execute(insert(LogRow), entries)


def remove(connection: Connection, process_id: str, *, version: int, finished_since_ms: int | None) -> bool:
    """Tells whether it was of this version, and, if that is asked for, finished since then."""
    row = lock_processes(connection, [process_id]).get(process_id)
    if row is None or row.version != version or finished_since_ms not in (None, row.since_ms):
        return False
    delete_process(connection, process_id)
    return True


# Read


def read(connection: Connection, condition: ColumnElement[bool]) -> Process | None:
    """The one for which it is true. Raises CorruptRecord."""
    row = connection.execute(_PROCESS.where(condition)).one_or_none()
    if row is None:
        return None
    steps = connection.execute(_STEPS.where(StepRow.process_id == row.id).order_by(StepRow.position)).all()
    return _process(row, steps)


def read_late(connection: Connection, *, now_ms: int, limit: int) -> list[Process]:
    """Oldest deadline first. A damaged process is logged and left out: it must not hide the others."""
    late = _PROCESS.where(ProcessRow.next_deadline_ms <= now_ms).order_by(ProcessRow.next_deadline_ms, ProcessRow.id)
    rows = connection.execute(late.limit(limit)).all()
    return [process for portion in portions(rows) for process in _readable(connection, portion)]


def _readable(connection: Connection, rows: Sequence[AnyRow]) -> Iterator[Process]:
    of_them = _STEPS.where(StepRow.process_id.in_([row.id for row in rows]))
    in_order = connection.execute(of_them.order_by(StepRow.process_id, StepRow.position))
    steps = {process_id: list(group) for process_id, group in groupby(in_order, key=lambda row: row.process_id)}
    for row in rows:
        try:
            process = _process(row, steps.get(row.id, ()))
        except errors.CorruptRecord:
            logger.exception("process_unusable", extra={"process_id": row.id})
        else:
            if process is not None:
                yield process


def _process(row: AnyRow, steps: Sequence[AnyRow]) -> Process | None:
    """None if it was deleted between the two questions. Raises CorruptRecord."""
    if not steps:
        return None
    process = records.read_process(row, steps)
    process.version = row.version
    return process


def _update(process_id: str) -> Update:
    return update(ProcessRow).where(ProcessRow.id == process_id)
