"""Where things are kept: what is behind `trellis.store` and the archive, however they were made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from trellis_celery import errors
from trellis_celery.plugin.extension import Trellis
from trellis_celery.repositories import RepositoryStore
from trellis_celery.settings import PREFIX, Settings

_STORES = "trellis_celery.stores."


class Place(Struct, frozen=True):
    #: "store", "processes", "trackers" or "archive".
    role: str
    #: The setting that names it.
    setting: str
    #: The URL without its password, or the class of what the team made itself.
    shown: str
    #: The store, repository or archive.
    thing: Any

    @property
    def kind(self) -> str:
        """The package of `trellis_celery.stores` that it comes from; empty for one of the team's own."""
        modules = (cls.__module__ for cls in type(self.thing).__mro__)
        return next((name.removeprefix(_STORES).partition(".")[0] for name in modules if name.startswith(_STORES)), "")


def live_places(trellis: Trellis) -> Iterator[Place]:
    """The store, or the two repositories that it is made of. Raises ConfigurationError."""
    store: Any = trellis.store
    settings = trellis.settings
    if not isinstance(store, RepositoryStore):
        yield _place("store", "url", settings, store)
        return
    for role, setting, repository in (
        ("processes", "url", store.process_repository),
        ("trackers", "tracker_url", store.tracker_repository),
    ):
        if repository is not None:
            yield _place(role, setting, settings, repository)


def archive_places(trellis: Trellis) -> Iterator[Place]:
    """The archive, if there is one beside the store. Raises ConfigurationError."""
    settings = trellis.settings
    if settings.history_url and settings.history_url != settings.url:
        yield _place("archive", "history_url", settings, trellis.history.archive)


def _place(role: str, setting: str, settings: Settings, thing: Any) -> Place:
    url: str = getattr(settings, setting)
    shown = errors.without_password(url) if url else type(thing).__name__
    return Place(role, PREFIX + setting, shown, thing)
