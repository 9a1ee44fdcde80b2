"""The entries of the periodic tasks, as the configuration has them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from celery.schedules import crontab

from trellis_celery import Trellis
from trellis_celery.doctor.asking import schedules
from trellis_celery.doctor.beat import BeatFacts
from trellis_celery.doctor.steps import DeclaredFacts, StepFacts

CHECK = "trellis_celery.check_timeouts"


def asked(entry: dict[str, Any] | None = None, **settings: Any) -> BeatFacts:
    """With this entry in the place of trellis's own."""
    app = Celery("clock", broker="memory://", set_as_current=False)
    app.conf.update(trellis_url="memory://", **settings)
    if entry is not None:
        app.conf.beat_schedule = {"trellis-check-timeouts": entry}
    trellis = Trellis(app)
    app.finalize()
    return schedules.ask(trellis, DeclaredFacts(steps=(StepFacts(name="a", timeout_ms=9_000), StepFacts(name="b"))))


def test_the_entry_that_trellis_makes_is_found_with_its_interval_and_its_patience() -> None:
    facts = asked(trellis_check_interval_ms=3_000)

    (entry,) = facts.entries
    assert (entry.scheduled_task, entry.scheduled_ms, entry.interval_ms, entry.expires_ms) == (
        CHECK,
        3_000,
        3_000,
        3_000,
    )
    assert (entry.altered, entry.has_stand_in) == ("", True)
    assert facts.shortest_timeout_ms == 9_000


def test_what_archives_is_looked_for_where_there_is_something_to_do() -> None:
    facts = asked(trellis_retention_ms=1)

    assert [entry.name for entry in facts.entries] == ["trellis-check-timeouts", "trellis-keep-history"]
    assert not facts.entries[1].has_stand_in


@pytest.mark.parametrize(
    ("schedule", "interval_ms"), [(30, 30_000), (0.5, 500), (timedelta(minutes=1), 60_000), (crontab(), None)]
)
def test_schedules_of_every_form_are_read(schedule: Any, interval_ms: int | None) -> None:
    (entry,) = asked({"task": CHECK, "schedule": schedule}).entries

    assert entry.scheduled_ms == interval_ms


def test_an_entry_of_the_teams_own_may_have_another_patience() -> None:
    (entry,) = asked({"task": CHECK, "schedule": 1, "options": {"expires": 60}}).entries

    assert entry.expires_ms == 60_000


def test_an_entry_that_was_thrown_away_after_the_app_was_finalized_is_missed() -> None:
    app = Celery("clock", broker="memory://", set_as_current=False)
    app.conf.trellis_url = "memory://"
    trellis = Trellis(app)
    app.finalize()
    app.conf.beat_schedule = {"tea": {"task": "kitchen.tea", "schedule": 60}}

    (entry,) = schedules.ask(trellis, DeclaredFacts()).entries

    assert entry.scheduled_task is None
