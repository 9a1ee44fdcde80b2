"""What every store can be asked, whatever it is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

from trellis_celery import errors
from trellis_celery.doctor.asking.places import Place
from trellis_celery.doctor.store import Reach, StoreFacts
from trellis_celery.domain.machine_clock import machine_now_ms

#: The first call connects, and is not counted.
_ROUND_TRIPS = 5
#: By the kind of a store: the module here that knows its servers, and imports its library.
_MODULES = {"redis": "redis", "sqlalchemy": "sql", "dynamodb": "dynamodb"}


def module_of(kind: str) -> Any:
    """What knows the servers of this kind; None if there are none, as for stores in memory and those of the team."""
    return import_module(f"trellis_celery.doctor.asking.{_MODULES[kind]}") if kind in _MODULES else None


def ask(place: Place, *, timeout_ms: int) -> StoreFacts:
    """Raises StoreError if it does not answer."""
    round_trip_ms = _round_trip_ms(_ping(place))
    reach = _reach(place)
    return StoreFacts(
        place=place.shown,
        setting=place.setting,
        reach=reach,
        round_trip_ms=round_trip_ms,
        offset_ms=_offset_ms(place.thing),
        timeout_ms=timeout_ms,
    )


def _reach(place: Place) -> Reach | None:
    if place.kind == "memory":
        return Reach.PROGRAM
    if place.kind != "sqlalchemy":
        return Reach.EVERYWHERE
    try:
        file = module_of(place.kind).file_of(place.thing)
    except errors.SchemaOutdated:  # so nobody keeps anything there
        return None
    return Reach.EVERYWHERE if file is None else Reach.MACHINE if file else Reach.PROGRAM


def _ping(place: Place) -> Callable[[], object]:
    module, thing = module_of(place.kind), place.thing
    if module is not None:
        return lambda: module.ping(thing)
    return getattr(thing, "last_check", lambda: None)


def _round_trip_ms(ping: Callable[[], object]) -> float:
    took_ms = []
    for _ in range(1 + _ROUND_TRIPS):
        started_s = time.monotonic()
        with suppress(errors.SchemaOutdated):  # it has answered; what is wrong is said elsewhere
            ping()
        took_ms.append((time.monotonic() - started_s) * 1000)
    return statistics.median(took_ms[1:])


def _offset_ms(thing: Any) -> float | None:
    """The store's time less what this machine's clock shows; None where there is none to ask."""
    ask_time = getattr(thing, "now_ms", None)
    if ask_time is not None:
        with suppress(errors.SchemaOutdated):
            return float(ask_time() - machine_now_ms())
    return None
