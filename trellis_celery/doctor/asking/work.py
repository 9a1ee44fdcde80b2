"""How the work goes, as the store tells it."""

from __future__ import annotations

from collections.abc import Iterable

from trellis_celery.doctor.work import WorkFacts
from trellis_celery.domain.definitions import ProcessType
from trellis_celery.plugin.extension import Trellis
from trellis_celery.ports import Outbox, ProcessStore


def ask(trellis: Trellis, types: Iterable[type[ProcessType]]) -> WorkFacts:
    """Raises StoreError."""
    store, settings = trellis.store, trellis.settings
    check, stats = store.last_check(), store.stats()
    groups = stats.processes.items()
    declared = {each.type_name for each in types}
    waiting = store.finished(is_archived=False, limit=1) if settings.history_url else []
    unrelayed, unrelayed_since_ms = _unrelayed(store) if settings.events_exchange else (None, None)
    return WorkFacts(
        now_ms=store.now_ms(),
        checked_at_ms=check.at_ms,
        checked_by=check.by,
        check_interval_ms=settings.check_interval_ms,
        live=sum(number for group, number in groups if not group.state.is_terminal),
        finished=sum(number for group, number in groups if group.state.is_terminal),
        due=stats.due,
        incidents=sum(number for group, number in groups if group.has_incident),
        undeclared=frozenset(group.process_type for group, number in groups if number) - declared,
        has_archive=bool(settings.history_url),
        retention_ms=settings.retention_ms,
        waiting=store.count_finished(is_archived=False) if settings.history_url else 0,
        waiting_since_ms=waiting[0].since_ms if waiting else None,
        history_backlog=settings.history_backlog,
        unrelayed=unrelayed,
        unrelayed_since_ms=unrelayed_since_ms,
    )


def _unrelayed(store: ProcessStore) -> tuple[int | None, int | None]:
    """None where the store keeps no outbox, as pairs and DynamoDB do not."""
    if not isinstance(store, Outbox):
        return None, None
    return store.unrelayed()
