"""Where a store's statements run: in transactions of its own, or within one of the application.

Transactions of our own are tried again where that can help: once on a new connection if the old one was lost, for every
write recognises its own repetition, and as long as there is time while other transactions are in the way. Nothing is
tried again within the application's transaction, which may be gone as a whole; the application has to do it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import RLock
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Connection, Engine, StaticPool, exc
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from trellis_celery import errors
from trellis_celery.stores.sqlalchemy import schema
from trellis_celery.stores.sqlalchemy.forks import leave_to_parent
from trellis_celery.stores.sqlalchemy.sqlite import begin_in_sqlite
from trellis_celery.stores.sqlalchemy.translate import as_ours, is_contention, is_lost_connection

T = TypeVar("T")
Work = Callable[[Connection], T]

#: Transactions that were in each other's way wait so long at the most before the next try, seconds.
_PAUSE_S = 0.05

Bind = Engine | sessionmaker[Any] | Session | scoped_session[Any] | Connection


class Contended(errors.StoreUnavailable):
    """Other transactions were in the way until there was no time left."""


class Transactions(Protocol):
    #: Whether the statements run within a transaction of the application.
    is_joined: bool

    def run(self, work: Work[T], *, until_s: float | None = None) -> T:
        """Do the work in a transaction: all of it or nothing. Raises StoreError and no driver's errors.

        `until_s`: when to stop trying while others are in the way, by `time.monotonic`; when the store's time is over
        if left out.
        """
        ...


def transactions(bind: Bind, *, timeout_ms: int) -> Transactions:
    """Raises ConfigurationError if `bind` is nothing to run statements with."""
    engine = bind.kw.get("bind") if isinstance(bind, sessionmaker) else bind
    lock: AbstractContextManager[Any] = nullcontext()
    if isinstance(engine, Engine):
        leave_to_parent(engine)
        lock = _lock_for(engine)
    if isinstance(bind, Engine):
        return _OwnTransactions(bind.begin, timeout_ms, lock)
    if isinstance(bind, sessionmaker):
        return _OwnTransactions(lambda: _session_connection(bind), timeout_ms, lock)
    if isinstance(bind, Session | scoped_session):
        return _JoinedTransactions(bind.connection)
    if isinstance(bind, Connection):
        return _JoinedTransactions(lambda: bind)
    raise errors.ConfigurationError(
        f"SQLAlchemyStore needs an Engine, a sessionmaker, a Session or a Connection, not {type(bind).__name__}"
    )


class _OwnTransactions:
    is_joined = False

    def __init__(
        self,
        begin: Callable[[], AbstractContextManager[Connection]],
        timeout_ms: int,
        lock: AbstractContextManager[Any],
    ) -> None:
        self._begin = begin
        self._timeout_s = timeout_ms / 1000
        self._lock = lock
        self._is_checked = False

    def run(self, work: Work[T], *, until_s: float | None = None) -> T:
        until_s = time.monotonic() + self._timeout_s if until_s is None else until_s
        may_reconnect = True
        while True:
            try:
                return self._try(work)
            except exc.SQLAlchemyError as error:
                ours = as_ours(error, needed_schema=schema.HEAD)
                if is_contention(error):
                    if time.monotonic() >= until_s:
                        raise Contended(str(ours)) from error
                    time.sleep(random.uniform(0, _PAUSE_S))  # noqa: S311 - so that rivals do not meet again
                elif is_lost_connection(error) and may_reconnect:
                    may_reconnect = False
                else:
                    raise ours from error

    def _try(self, work: Work[T]) -> T:
        if not self._is_checked:  # in a transaction of its own: SQLite wants nothing read before the first write
            with self._lock, self._begin() as connection:
                schema.require_current(connection)
            self._is_checked = True
        with self._lock, self._begin() as connection:
            begin_in_sqlite(connection)
            return work(connection)


class _JoinedTransactions:
    is_joined = True

    def __init__(self, connection: Callable[[], Connection]) -> None:
        self._connection = connection

    def run(self, work: Work[T], *, until_s: float | None = None) -> T:
        del until_s  # nothing is tried again
        try:
            connection = self._connection()
            begin_in_sqlite(connection)
            with connection.begin_nested():
                if connection.engine not in _checked:  # once, for SQLite wants nothing read before the first write
                    schema.require_current(connection)
                    _checked.add(connection.engine)
                return work(connection)
        except exc.SQLAlchemyError as error:
            ours = as_ours(error, needed_schema=schema.HEAD)
            raise (Contended(str(ours)) if is_contention(error) else ours) from error


@contextmanager
def _session_connection(make: sessionmaker[Any]) -> Iterator[Connection]:
    with make.begin() as session:
        yield session.connection()


#: Threads take turns on a database in memory: it is one connection.
_locks: WeakKeyDictionary[Engine, RLock] = WeakKeyDictionary()


#: Engines whose tables have been found to be there.
_checked: WeakSet[Engine] = WeakSet()


def _lock_for(engine: Engine) -> AbstractContextManager[Any]:
    return _locks.setdefault(engine, RLock()) if isinstance(engine.pool, StaticPool) else nullcontext()
