"""From a URL to an engine whose every statement ends within a given time.

A call may need two tries, the second on a new connection, so one statement gets half of the time.
"""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy import URL, Engine, StaticPool, create_engine, event, exc, make_url

from trellis_celery import errors
from trellis_celery.stores.sqlalchemy.forks import leave_to_parent

#: By the first part of a URL: SQLAlchemy's name of dialect and driver, and what to install for it.
DIALECTS = {
    "postgresql": ("postgresql+psycopg", "trellis-celery[postgres]"),
    "postgres": ("postgresql+psycopg", "trellis-celery[postgres]"),
    "mysql": ("mysql+pymysql", "trellis-celery[mysql]"),
    "mariadb": ("mariadb+pymysql", "trellis-celery[mysql]"),
    "sqlite": ("sqlite+pysqlite", "trellis-celery[sql]"),
}

#: A connection that has been idle for longer may have been dropped by something on the way, seconds.
_RECYCLE_S = 1_800


def engine_for(url: str, *, timeout_ms: int) -> Engine:
    """An engine for the URL. Nothing is connected yet.

    timeout_ms
        The most a call of the store may take, a second try included. To connect to PostgreSQL takes at most two
        seconds if that is less.

    A child process that is forked gets connections of its own. Raises ConfigurationError for a URL that makes no sense,
    a database or a driver that is not known, or one that is not installed.
    """
    parsed, extra = _parse(url)
    options = _OPTIONS[parsed.get_backend_name()](parsed, timeout_ms / 1000 / 2)
    try:
        engine = create_engine(parsed, **options)
    except ModuleNotFoundError as error:
        raise errors.ConfigurationError(f"the URL {_shown(parsed)} needs {error.name}: pip install {extra}") from None
    _LISTEN.get(engine.dialect.name, _nothing)(engine, timeout_ms / 1000 / 2)
    leave_to_parent(engine)
    return engine


def _parse(url: str) -> tuple[URL, str]:
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):  # what they say may have the password in it
        raise errors.ConfigurationError(
            "the URL cannot be used: it is no <database>://…, or has a special character that is not %-encoded"
        ) from None
    dialect, _, driver = parsed.drivername.partition("+")
    known, extra = DIALECTS.get(dialect, ("", ""))
    if not known:
        raise errors.ConfigurationError(
            f"the URL {_shown(parsed)} names a database that is not known; known are {', '.join(DIALECTS)}"
        )
    if driver not in ("", known.partition("+")[2]):
        raise errors.ConfigurationError(
            f"the URL {_shown(parsed)} names a driver whose waits cannot be bounded: write {known}://, "
            "or make a SQLAlchemyStore with an engine of your own"
        )
    return parsed.set(drivername=known), extra


def _shown(url: URL) -> str:
    return repr(url.set(query={}))  # where a password may stand as well


# What each database needs, to give up after `limit_s`


def _postgresql(url: URL, limit_s: float) -> dict[str, Any]:
    limit_ms = max(1, int(limit_s * 1000))
    given = url.query.get("options", "")
    # The wait for a lock ends first, for it says more.
    ours = f"-c lock_timeout={max(1, limit_ms * 3 // 4)} -c statement_timeout={limit_ms}"
    return {
        **_pooled(limit_s),
        "connect_args": {
            "connect_timeout": max(2, math.ceil(limit_s)),  # it knows no less
            "tcp_user_timeout": limit_ms,
            "application_name": url.query.get("application_name", "trellis"),
            "options": f"{ours} {given if isinstance(given, str) else ' '.join(given)}".strip(),
        },
    }


def _mysql(url: URL, limit_s: float) -> dict[str, Any]:
    del url
    lock_wait_s = max(1, int(limit_s))  # it knows no less
    # The wait for a lock ends first: whom we leave waiting at the server goes on holding what it has locked.
    reply_s = max(limit_s, lock_wait_s) * 1.2
    return {
        **_pooled(limit_s),
        # The locks of its default level lie between rows as well, where others want to insert.
        "isolation_level": "READ COMMITTED",
        "connect_args": {
            "connect_timeout": max(0.001, limit_s),
            "read_timeout": reply_s,
            "write_timeout": reply_s,
            "init_command": f"SET SESSION innodb_lock_wait_timeout = {lock_wait_s}",
        },
    }


def _sqlite(url: URL, limit_s: float) -> dict[str, Any]:
    options: dict[str, Any] = {"connect_args": {"timeout": limit_s, "check_same_thread": False}}
    if url.database in (None, "", ":memory:"):
        return {**options, "poolclass": StaticPool}
    return {**options, "pool_timeout": limit_s}


def _pooled(limit_s: float) -> dict[str, Any]:
    # Not `pool_pre_ping`: it asks before every transaction, and a lost connection is noticed and replaced anyway.
    return {"pool_timeout": limit_s, "pool_recycle": _RECYCLE_S}


_OPTIONS = {"postgresql": _postgresql, "mysql": _mysql, "mariadb": _mysql, "sqlite": _sqlite}


def _listen_to_sqlite(engine: Engine, limit_s: float) -> None:
    del limit_s

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # Readers and the one writer do not wait for each other.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")


def _listen_to_postgresql(engine: Engine, limit_s: float) -> None:
    from trellis_celery.stores.sqlalchemy import bounded  # noqa: PLC0415 - it needs the driver

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, arguments: Any, options: Any) -> Any:
        return bounded.connect(*arguments, limit_s=limit_s, **options)


def _nothing(engine: Engine, limit_s: float) -> None:
    del engine, limit_s


_LISTEN = {"sqlite": _listen_to_sqlite, "postgresql": _listen_to_postgresql}
