"""Who is examined: what can be said of an app and its `Trellis` before anything is asked, and what there is to ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

from msgspec import Struct

from trellis_celery import errors
from trellis_celery.doctor.asking import broker, declared, redis, redis_rights, schedules, stores, work, workers
from trellis_celery.doctor.asking.places import Place, archive_places, live_places
from trellis_celery.doctor.steps import DeclaredFacts
from trellis_celery.domain.definitions import ProcessType
from trellis_celery.plugin.extension import Trellis

#: What is asked, and of whom: the role of a place, or "broker".
Question = tuple[str, str]
_Asking = Iterator[tuple[Question, Callable[[], Any]]]


class Patient(Struct, frozen=True, kw_only=True):
    trellis: Trellis
    types: Sequence[type[ProcessType]]
    declared: DeclaredFacts
    #: Why the app's modules could not be imported; empty if they could.
    import_error: str
    places: Sequence[Place]
    #: Why the store or the archive could not be opened; empty if they could.
    place_error: str
    #: kombu's name of the broker's kind; empty if its URL makes no sense.
    broker_kind: str
    broker_error: str

    @property
    def app(self) -> Any:
        return self.trellis.app

    @classmethod
    def of(cls, trellis: Trellis, types: Sequence[type[ProcessType]] | None) -> Patient:
        """`types`: None: all that have been imported."""
        import_error = declared.import_modules(trellis.app)
        types = declared.process_types() if types is None else types
        places, place_error = _places(trellis)
        broker_kind, broker_error = _broker_kind(trellis.app)
        return cls(
            trellis=trellis,
            types=types,
            declared=declared.ask(trellis, types),
            import_error=import_error,
            places=places,
            place_error=place_error,
            broker_kind=broker_kind,
            broker_error=broker_error,
        )

    def questions(self) -> dict[Question, Callable[[], Any]]:
        """All that there is to ask."""
        return dict(chain(self._about_places(), self._about_broker(), self._about_work()))

    def _about_places(self) -> _Asking:
        for place in self.places:
            yield ("store", place.role), partial(stores.ask, place, timeout_ms=self.trellis.settings.store_timeout_ms)
            if place.kind == "redis":
                client = place.thing.client
                yield ("servers", place.role), partial(redis.servers, client)
                yield ("rights", place.role), partial(redis_rights.ask, client, prefix=place.thing.prefix)
            elif (module := stores.module_of(place.kind)) is not None:
                yield (place.kind, place.role), partial(module.ask, place.thing)

    def _about_broker(self) -> _Asking:
        if not self.broker_kind:
            return
        store_clients = [place.thing.client for place in self.places if place.kind == "redis"]
        yield ("broker", ""), partial(broker.ask, self.trellis, self.declared.steps, store_clients=store_clients)
        yield ("workers", ""), partial(workers.ask, self.app)
        if self.broker_kind == "redis":
            yield ("servers", "broker"), partial(broker.servers, self.app)

    def _about_work(self) -> _Asking:
        yield ("beat", ""), partial(schedules.ask, self.trellis, self.declared)
        if any(place.role != "archive" for place in self.places):
            yield ("work", ""), partial(work.ask, self.trellis, self.types)


def _places(trellis: Trellis) -> tuple[list[Place], str]:
    places: list[Place] = []
    for there in (live_places, archive_places):
        try:
            places += there(trellis)
        except errors.ConfigurationError as error:
            return places, str(error)
    return places, ""


def _broker_kind(app: Any) -> tuple[str, str]:
    try:
        return broker.kind_of(app), ""
    except Exception as error:  # noqa: BLE001 - kombu says in many ways that a URL makes no sense
        return "", f"{type(error).__name__}: {error}"
