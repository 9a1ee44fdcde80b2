"""The only wiring: from URLs in the settings to what keeps things there.

Each kind of store has a module `backend` with the functions that it can offer of these, all of (url, settings):
`open_store`, `open_processes`, `open_trackers`, `open_archive`; and `schema`, for what has to be made before first use.
It is imported when a URL asks for it, so that nobody needs or pays for a database that is not used.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol, cast

from trellis_celery import errors
from trellis_celery.ports import HistoryArchive, ProcessStore, Tracer
from trellis_celery.repositories import RepositoryStore
from trellis_celery.settings import PREFIX, Settings

#: By the scheme of the URL, up to a plus sign: the kind of store. Drivers have names of their own behind the plus sign.
_KINDS = {
    "redis": "redis",
    "rediss": "redis",
    "sentinel": "redis",
    "postgresql": "sqlalchemy",
    "mysql": "sqlalchemy",
    "mariadb": "sqlalchemy",
    "sqlite": "sqlalchemy",
    "dynamodb": "dynamodb",
    "memory": "memory",
}
#: The extra that brings what a kind of store imports.
_EXTRAS = {"sqlalchemy": "sql", "dynamodb": "dynamodb"}


class Schema(Protocol):
    """What a store needs to have made before its first use, and after an upgrade."""

    def migrate(self, say: Callable[[str], None]) -> None:
        """Make it or bring it up to date, and say what is done. Raises StoreError."""
        ...

    def text(self) -> str:
        """What `migrate` would do to an empty database, for somebody else to do. Nothing is sent."""
        ...


def open_store(settings: Settings) -> ProcessStore:
    """The store that `trellis_url` names, or its pair with `trellis_tracker_url`. Nothing is sent yet.

    Raises ConfigurationError.
    """
    if not settings.url:
        raise errors.ConfigurationError(
            'trellis_url is not set: write app.conf.trellis_url = "redis://localhost:6379/1" '
            "(or CELERY_TRELLIS_URL in Django settings)"
        )
    if not settings.tracker_url:
        return cast("ProcessStore", _open("open_store", "url", settings))
    return RepositoryStore(_open("open_processes", "url", settings), _open("open_trackers", "tracker_url", settings))


def open_archive(settings: Settings) -> HistoryArchive | None:
    """The archive that `trellis_history_url` names, if there is one. Nothing is sent yet. Raises ConfigurationError."""
    if not settings.history_url:
        return None
    return cast("HistoryArchive", _open("open_archive", "history_url", settings))


def open_tracer(settings: Settings) -> Tracer | None:
    """What makes spans, if `trellis_tracing` asks for them. Raises ConfigurationError."""
    if not settings.tracing:
        return None
    try:
        return cast("Tracer", import_module("trellis_celery.monitoring.opentelemetry").OpenTelemetryTracer())
    except ImportError as error:  # packages of this name exist without the API among them
        raise errors.ConfigurationError(
            f"{PREFIX}tracing needs opentelemetry-api: pip install 'trellis-celery[otel]'"
        ) from error


def schemas(settings: Settings) -> list[tuple[str, Schema | None]]:
    """Each URL that is set, without its password, and what has to be made there; None: nothing."""
    names = [name for name in ("url", "tracker_url", "history_url") if getattr(settings, name)]
    if not names:
        open_store(settings)  # tells what is missing
    setting_of_url = {getattr(settings, name): name for name in reversed(names)}
    return [
        (errors.without_password(url), _open("schema", setting, settings, needed=False))
        for url, setting in reversed(setting_of_url.items())
    ]


def _open(what: str, setting: str, settings: Settings, *, needed: bool = True) -> Any:
    url: str = getattr(settings, setting)
    backend = _backend(setting, url)
    opens = getattr(backend, what, None)
    if opens is None and needed:
        raise errors.ConfigurationError(f"{PREFIX}{setting} cannot be {url.partition('://')[0]}://; see the settings")
    return None if opens is None else opens(url, settings)


def _backend(setting: str, url: str) -> Any:
    scheme, separator, _ = url.partition("://")
    kind = _KINDS.get(scheme.partition("+")[0]) if separator else None
    if kind is None:
        known = ", ".join(f"{scheme}://" for scheme in _KINDS)
        raise errors.ConfigurationError(f"{PREFIX}{setting} must start with one of {known}, not {scheme[:40]!r}")
    try:
        return import_module(f"trellis_celery.stores.{kind}.backend")
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(kind)
        if extra is None or (error.name or "").startswith("trellis_celery"):
            raise
        raise errors.ConfigurationError(
            f"{PREFIX}{setting} needs {error.name}: pip install 'trellis-celery[{extra}]'"
        ) from error
