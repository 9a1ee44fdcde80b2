"""The entries of the periodic tasks, in the configuration and in the databases that some schedulers keep them in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any

from celery.schedules import maybe_schedule, schedule
from msgspec.structs import replace

from trellis_celery.doctor.beat import BeatFacts, EntryFacts
from trellis_celery.doctor.steps import DeclaredFacts
from trellis_celery.plugin.extension import Trellis


def ask(trellis: Trellis, declared: DeclaredFacts) -> BeatFacts:
    """Reads the databases of schedulers, if there are any; raises what their libraries raise."""
    settings = trellis.settings
    entries = [_entry(trellis.app, "trellis-check-timeouts", "check_timeouts", settings.check_interval_ms)]
    if settings.history_url or settings.retention_ms:
        entries.append(_entry(trellis.app, "trellis-keep-history", "keep_history", settings.history_interval_ms))
    timeouts = [step.timeout_ms for step in declared.steps if step.timeout_ms is not None]
    return BeatFacts(
        entries=tuple(_as_stored(trellis.app, entry) for entry in entries),
        worker_lost_ms=settings.worker_lost_ms,
        shortest_timeout_ms=min(timeouts, default=None),
    )


def _entry(app: Any, name: str, task: str, interval_ms: int) -> EntryFacts:
    full_name = f"trellis_celery.{task}"
    found = app.conf.beat_schedule.get(name)
    entry = {} if found is None else dict(found)
    registered = app.tasks.get(full_name)
    expires = (entry.get("options") or {}).get("expires", getattr(registered, "expires", None))
    return EntryFacts(
        name=name,
        task=full_name,
        interval_ms=interval_ms,
        scheduled_task=entry.get("task"),
        scheduled_ms=_interval_ms(app, entry.get("schedule")),
        expires_ms=int(expires * 1000) if isinstance(expires, int | float) else None,
        has_stand_in=task == "check_timeouts",
    )


def _interval_ms(app: Any, value: Any) -> int | None:
    """None for calendars, and for nothing."""
    if value is None:
        return None
    found: Any = maybe_schedule(value, app=app)
    every = getattr(found, "run_every", None) if type(found) is schedule else None
    return int(every / timedelta(milliseconds=1)) if isinstance(every, timedelta) else None


def _as_stored(app: Any, entry: EntryFacts) -> EntryFacts:
    """The entry as schedulers with a database would send it; as it is where they have not seen it yet."""
    for stored in _STORED:
        entry = stored(app, entry)
    return entry


def _in_django(app: Any, entry: EntryFacts) -> EntryFacts:
    """django-celery-beat: people switch entries off in the admin, and it keeps whole seconds only."""
    del app
    models = sys.modules.get("django_celery_beat.models")  # loaded by Django, if it is installed there
    row = None if models is None else models.PeriodicTask.objects.filter(name=entry.name).first()
    if row is None:
        return entry
    every_ms = int(row.schedule.run_every / timedelta(milliseconds=1)) if row.interval else None
    return _altered(entry, "django-celery-beat", is_enabled=row.enabled, task=row.task, every_ms=every_ms)


def _in_redbeat(app: Any, entry: EntryFacts) -> EntryFacts:
    """redbeat: an entry in Redis lives on, whatever the configuration says later."""
    if not app.conf.get("redbeat_redis_url") and "redbeat" not in str(app.conf.beat_scheduler).lower():
        return entry
    schedulers: Any = import_module("redbeat.schedulers")
    schedulers.ensure_conf(app)
    try:
        found = schedulers.RedBeatSchedulerEntry.from_key(f"{app.redbeat_conf.key_prefix}{entry.name}", app=app)
    except KeyError:
        return entry
    every_ms = _interval_ms(app, found.schedule)
    return _altered(entry, "redbeat", is_enabled=found.enabled, task=found.task, every_ms=every_ms)


def _altered(entry: EntryFacts, scheduler: str, *, is_enabled: bool, task: str, every_ms: int | None) -> EntryFacts:
    what = ""
    if not is_enabled:
        what = f"is disabled in {scheduler}"
    elif every_ms == 0:
        what = f"is sent without any pause by {scheduler}"
    return replace(entry, scheduled_task=task, scheduled_ms=every_ms, altered=what)


_STORED: tuple[Callable[[Any, EntryFacts], EntryFacts], ...] = (_in_django, _in_redbeat)
