"""The tables' schema: made and brought up to date by Alembic, with its migrations inside of this package.

Its own table `trellis_version` says what there is, so an application that uses Alembic itself knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from io import StringIO

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, String, column, exc, func, inspect, make_url, select, table
from sqlalchemy.engine import Dialect

from trellis_celery import errors
from trellis_celery.stores.sqlalchemy.sqlite import begin_in_sqlite
from trellis_celery.stores.sqlalchemy.translate import as_ours
from trellis_celery.stores.sqlalchemy.types import MYSQL

#: What this release needs. Later ones are greater as texts.
HEAD = "0003"
VERSION_TABLE = "trellis_version"

#: Names the lock of those who migrate at the same time.
_LOCK_NAME = "trellis_migrate"
_LOCK_NUMBER = 0x7472656C6C6973
_LOCK_WAIT_S = 60


def migrate(bind: Engine | Connection) -> None:
    """Make the tables, or bring them up to date. Does nothing if they are.

    On a Connection it is a part of the transaction there, where the database has transactions for tables (MySQL has
    not); not within a migration of the application's own, because Alembic cannot run one inside another. Others that
    migrate at the same time are waited for.
    """
    if isinstance(bind, Connection):
        _migrate(bind)
        return
    with bind.connect() as guard, _alone(guard), bind.begin() as connection:
        _migrate(connection)


def sql(dialect: str) -> str:
    """What `migrate` would do to an empty database, as SQL text. `dialect`: a URL or a dialect's name.

    Raises ConfigurationError for a dialect that is not known.
    """
    text = StringIO()
    config = _config(output_buffer=text)
    config.attributes["dialect_name"] = _dialect_name(dialect)
    command.upgrade(config, "head", sql=True)
    return text.getvalue()


def current(engine: Engine) -> str | None:
    """The schema that is there; None if there is none. Raises StoreUnavailable."""
    try:
        with engine.connect() as connection:
            return found_in(connection)
    except exc.SQLAlchemyError as error:
        raise as_ours(error, needed_schema=HEAD) from error


def require_current(connection: Connection) -> None:
    """Raises SchemaOutdated if the tables are missing or of an older release.

    Migrations only add, as records do, so that programs of the release before go on with what a newer one has made.
    """
    found = found_in(connection)
    if found is None or found < HEAD:
        raise errors.SchemaOutdated(found=found, needed=HEAD)


def found_in(connection: Connection) -> str | None:
    """The schema that is there; None if there is none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.scalar(select(column("version_num", String)).select_from(table(VERSION_TABLE)))


def _migrate(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK_NUMBER)))
    begin_in_sqlite(connection, how="BEGIN EXCLUSIVE")
    if (found_in(connection) or "") <= HEAD:  # a newer release may have been here
        command.upgrade(config, "head")


@contextmanager
def _alone(guard: Connection) -> Iterator[None]:
    """With MySQL, whose transactions leave tables out, others wait on a connection beside the one that migrates."""
    if guard.dialect.name not in MYSQL:
        yield
        return
    if guard.scalar(select(func.get_lock(_LOCK_NAME, _LOCK_WAIT_S))) != 1:
        raise errors.StoreUnavailable("another program migrates this database: try again when it is done")
    try:
        yield
    finally:
        guard.scalar(select(func.release_lock(_LOCK_NAME)))


def _config(output_buffer: StringIO | None = None) -> Config:
    config = Config(output_buffer=output_buffer) if output_buffer is not None else Config()
    config.set_main_option(
        "script_location", str(files("trellis_celery.stores.sqlalchemy") / "migrations").replace("%", "%%")
    )
    return config


def _dialect_name(text: str) -> str:
    try:
        dialect: type[Dialect] = make_url(text if "://" in text else f"{text}://").get_dialect()
    except (exc.ArgumentError, exc.NoSuchModuleError):
        raise errors.ConfigurationError(f"there is no SQL for {text.partition(':')[0]!r}") from None
    return dialect.name
