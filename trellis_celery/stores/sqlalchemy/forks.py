"""A forked child must not talk on its parent's connections: what one asks, the other would read."""

from __future__ import annotations

import os
from functools import cache
from weakref import WeakSet

from sqlalchemy import Engine, StaticPool

_engines: WeakSet[Engine] = WeakSet()


def leave_to_parent(engine: Engine) -> None:
    """Children that are forked from now on get connections of their own. A database in memory they have a copy of."""
    if not isinstance(engine.pool, StaticPool):
        _engines.add(engine)
        _watch_forks()


@cache
def _watch_forks() -> None:
    os.register_at_fork(after_in_child=_leave_all)


def _leave_all() -> None:
    for engine in list(_engines):
        engine.dispose(close=False)
