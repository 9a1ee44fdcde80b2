"""The metrics of a `Trellis`, in the registry from which a program exports its own."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from trellis_celery import errors
from trellis_celery.monitoring.readings import StoreReader
from trellis_celery.monitoring.scrapes import Scrapes

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from trellis_celery.monitoring.prometheus import TrellisCollector
    from trellis_celery.plugin.extension import Trellis

#: A scrape waits so long at the least: half of what Prometheus waits if nobody has told it otherwise.
LEAST_PATIENCE_S = 5.0

_registered: WeakKeyDictionary[CollectorRegistry, tuple[Trellis, TrellisCollector]] = WeakKeyDictionary()


def register(trellis: Trellis, registry: CollectorRegistry | None = None, *, waits: bool = True) -> TrellisCollector:
    """Export the metrics of this `Trellis` from a registry; None: the one that every program has.

    Doing it again changes nothing and returns the same collector. `waits`: see `TrellisCollector`. Raises
    ConfigurationError for settings that make no sense, if prometheus-client is not installed, and if the registry has
    another `Trellis` already.
    """
    collector = collector_of(trellis, waits=waits)
    registry = _everybodys_registry() if registry is None else registry
    if registry in _registered:
        holder, registered = _registered[registry]
        if holder is not trellis:
            raise errors.ConfigurationError(
                f"this registry has the metrics of the app {holder.app.main!r} already: give each app one of its own"
            )
        return registered
    registry.register(collector)
    _registered[registry] = (trellis, collector)
    return collector


def collector_of(trellis: Trellis, *, waits: bool = True) -> TrellisCollector:
    """A collector of the metrics of this `Trellis`. Raises ConfigurationError."""
    try:
        from trellis_celery.monitoring.prometheus import TrellisCollector  # noqa: PLC0415 - needs an optional dependency
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("trellis_celery"):
            raise
        raise errors.ConfigurationError(
            "metrics need prometheus-client: pip install 'trellis-celery[metrics]'"
        ) from error
    settings = trellis.settings
    reader = StoreReader(lambda: trellis.store, has_archive=lambda: bool(settings.history_url))
    # A store that does not answer says so in time for the scrape that asked.
    patience_s = max(LEAST_PATIENCE_S, settings.store_timeout_ms / 1000 + 1)
    return TrellisCollector(
        Scrapes(reader.read, patience_s=patience_s), check_interval_ms=settings.check_interval_ms, waits=waits
    )


def _everybodys_registry() -> CollectorRegistry:
    from prometheus_client import REGISTRY  # noqa: PLC0415 - an optional dependency

    return REGISTRY
