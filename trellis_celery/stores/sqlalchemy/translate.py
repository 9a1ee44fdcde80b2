"""From the errors of SQLAlchemy and the drivers to ours, in one place.

What SQLAlchemy says of an error has the statement and its parameters in it, and so the arguments of tasks; only what
the database said is passed on.
"""

from __future__ import annotations

from sqlalchemy import exc

from trellis_celery import errors

#: PostgreSQL: serialization failure, deadlock, lock not available.
_CONTENTION_STATES = ("40001", "40P01", "55P03")
#: MySQL: lock wait timeout, deadlock, lock not available, and the savepoint that went with a deadlock. MariaDB: the row
#: was changed since the snapshot.
_CONTENTION_NUMBERS = (1205, 1213, 3572, 1020, 1305)
#: PostgreSQL: undefined table, undefined column.
_SCHEMA_STATES = ("42P01", "42703")
#: MySQL: unknown column, no such table.
_SCHEMA_NUMBERS = (1054, 1146)
#: PostgreSQL: a standby, which only reads. It is the master again in a moment, or the URL has to change.
_READ_ONLY_STATES = ("25006",)


def is_contention(error: BaseException) -> bool:
    """Whether another transaction was in the way: the same again may succeed."""
    said = _said(error)
    return (
        isinstance(error, exc.IntegrityError)  # somebody took the key, or the row, between the look and the write
        or _state(error) in _CONTENTION_STATES
        or _number(error) in _CONTENTION_NUMBERS
        or "database is locked" in said
        or "database table is locked" in said
    )


def is_lost_connection(error: BaseException) -> bool:
    """Whether the connection had broken, perhaps long ago: on a new one the same may succeed."""
    return isinstance(error, exc.DBAPIError) and error.connection_invalidated


def as_ours(error: exc.SQLAlchemyError, *, needed_schema: str) -> errors.StoreError:
    """The StoreError that tells what this error means."""
    said = _said(error)
    if (
        _state(error) in _SCHEMA_STATES
        or _number(error) in _SCHEMA_NUMBERS
        or said.startswith(("no such table", "no such column"))
    ):
        return errors.SchemaOutdated(found=None, needed=needed_schema)
    if (
        isinstance(error, exc.OperationalError | exc.InterfaceError | exc.TimeoutError)
        or is_contention(error)
        or is_lost_connection(error)
        or _state(error) in _READ_ONLY_STATES
    ):
        return errors.StoreUnavailable(f"the database does not answer: {said}")
    return errors.StoreError(f"the database refused: {said}")


def _said(error: BaseException) -> str:
    original = getattr(error, "orig", None) or error
    text = str(original).strip().partition("\n")[0]
    return text or type(original).__name__


def _state(error: BaseException) -> str | None:
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def _number(error: BaseException) -> int | None:
    arguments = getattr(getattr(error, "orig", None), "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else None
