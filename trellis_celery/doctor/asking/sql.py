"""What a SQL database tells of itself and of the tables in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import URL, Connection, Table, delete, exc, false, insert, select, text, update

from trellis_celery import errors
from trellis_celery.doctor.sql import MYSQL, SqlFacts
from trellis_celery.stores.sqlalchemy import schema
from trellis_celery.stores.sqlalchemy.models import Base

#: Settings that decide whether a commit is on disk.
_DURABILITY = {
    "postgresql": ("fsync", "full_page_writes", "synchronous_commit"),
    "mysql": ("innodb_flush_log_at_trx_commit",),
    "mariadb": ("innodb_flush_log_at_trx_commit",),
    "sqlite": ("synchronous",),
}
_QUESTIONS = {"postgresql": "SHOW {}", "mysql": "SELECT @@{}", "mariadb": "SELECT @@{}", "sqlite": "PRAGMA {}"}
_ENGINES = "SELECT table_name, engine FROM information_schema.tables WHERE table_schema = DATABASE()"


def ping(thing: Any) -> None:
    """One round trip. Raises StoreError; SchemaOutdated is an answer as well."""
    thing.transactions.run(lambda connection: connection.execute(text("SELECT 1")))


def ask(thing: Any) -> SqlFacts:
    """Raises StoreError."""
    try:
        facts: SqlFacts = thing.transactions.run(_facts)
    except errors.SchemaOutdated as error:
        return SqlFacts(dialect="", schema_found=error.found, schema_needed=error.needed)
    return facts


def file_of(thing: Any) -> str | None:
    """SQLite's file, empty if it is in memory; None for any other database. Raises StoreError."""
    where: URL = thing.transactions.run(lambda connection: connection.engine.url)
    if where.get_backend_name() != "sqlite":
        return None
    return "" if where.database in (None, "", ":memory:") else where.database


def _facts(connection: Connection) -> SqlFacts:
    dialect = connection.dialect.name
    is_read_only = _is_read_only(connection, dialect)
    return SqlFacts(
        dialect=dialect,
        schema_found=schema.found_in(connection),
        schema_needed=schema.HEAD,
        isolation=connection.get_isolation_level().replace("-", " "),
        is_read_only=is_read_only,
        engines=_engines(connection) if dialect in MYSQL else {},
        journal_mode=_setting(connection, dialect, "journal_mode") if dialect == "sqlite" else "",
        durability={name: _setting(connection, dialect, name) for name in _DURABILITY.get(dialect, ())},
        denied=() if is_read_only else tuple(_denied(connection)),
    )


def _setting(connection: Connection, dialect: str, name: str) -> str:
    return str(connection.scalar(text(_QUESTIONS[dialect].format(name))))


def _is_read_only(connection: Connection, dialect: str) -> bool:
    if dialect == "postgresql":  # a standby says the same
        return _setting(connection, dialect, "transaction_read_only") == "on"
    return dialect in MYSQL and _setting(connection, dialect, "read_only") != "0"


def _engines(connection: Connection) -> dict[str, str]:
    ours = {table.name for table in Base.metadata.sorted_tables}
    return {name: engine or "a view" for name, engine in connection.execute(text(_ENGINES)).all() if name in ours}


def _denied(connection: Connection) -> Iterator[str]:
    """What the user may not do: of each kind one statement that would do it to no row."""
    for table in Base.metadata.sorted_tables:
        for statement in _on_no_row(table):
            try:
                with connection.begin_nested():
                    connection.execute(statement)
            except (exc.ProgrammingError, exc.OperationalError) as error:
                if error.connection_invalidated:
                    raise
                yield f"{statement.__visit_name__.upper()} on {table.name}"


def _on_no_row(table: Table) -> Iterator[Any]:
    none = select(table).where(false())
    first = next(iter(table.columns))
    yield none
    yield insert(table).from_select(list(table.columns), none)
    yield update(table).where(false()).values({first: first})
    yield delete(table).where(false())
