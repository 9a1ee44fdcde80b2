"""What is said of the beat schedule."""

from __future__ import annotations

from typing import Any

import pytest

from trellis_celery.doctor.beat import CHECKS, BeatFacts, EntryFacts
from trellis_celery.doctor.finding import Finding, Level, judge

CHECK = "trellis_celery.check_timeouts"


def entry(**facts: Any) -> EntryFacts:
    given = {
        "name": "trellis-check-timeouts",
        "task": CHECK,
        "interval_ms": 1_000,
        "scheduled_task": CHECK,
        "scheduled_ms": 1_000,
        "expires_ms": 1_000,
        "has_stand_in": True,
    }
    return EntryFacts(**{**given, **facts})


def said(shortest_timeout_ms: int | None = None, **facts: Any) -> dict[str, Finding]:
    """What each check says."""
    facts_ = BeatFacts(entries=(entry(**facts),), shortest_timeout_ms=shortest_timeout_ms)
    return {finding.check: finding for finding in judge(CHECKS, facts_)}


def test_the_entries_as_trellis_writes_them_are_fine() -> None:
    assert [finding.level for finding in said().values()] == [Level.OK] * len(CHECKS)


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({"scheduled_task": None}, "is not in the beat schedule"),
        ({"scheduled_task": "shop.other"}, "sends shop.other"),
        ({"altered": "is disabled in django-celery-beat"}, "is disabled in django-celery-beat"),
    ],
)
def test_an_entry_that_is_lost_is_a_warning_where_workers_stand_in_and_else_a_problem(
    facts: dict[str, Any], found: str
) -> None:
    with_stand_in, without = said(**facts)["beat-entry"], said(has_stand_in=False, **facts)["beat-entry"]

    assert (with_stand_in.level, without.level) == (Level.WARNING, Level.PROBLEM)
    assert found in with_stand_in.found


@pytest.mark.parametrize(
    ("facts", "level", "found"),
    [
        ({"scheduled_ms": 500}, Level.OK, "every 500 ms"),
        ({"scheduled_ms": 2_000}, Level.WARNING, "every 2 s"),
        ({"scheduled_ms": None}, Level.WARNING, "by a calendar"),
        ({"interval_ms": 120_000, "scheduled_ms": 120_000}, Level.WARNING, "every 2 min"),
        ({"interval_ms": 9_000, "scheduled_ms": 9_000, "shortest_timeout_ms": 5_000}, Level.WARNING, "every 9 s"),
        ({"interval_ms": 9_000, "scheduled_ms": 9_000, "shortest_timeout_ms": 60_000}, Level.OK, "every 9 s"),
    ],
)
def test_the_check_comes_as_often_as_the_settings_say_and_before_steps_are_long_late(
    facts: dict[str, Any], level: Level, found: str
) -> None:
    finding = said(**facts)["beat-interval"]

    assert finding.level is level
    assert found in finding.found


@pytest.mark.parametrize(
    ("expires_ms", "level"),
    [
        (1_000, Level.OK),
        (10_000, Level.OK),
        (10_001, Level.WARNING),
        (None, Level.WARNING),
        (999, Level.NOTE),
    ],
)
def test_checks_do_not_pile_up_in_a_long_queue(expires_ms: int | None, level: Level) -> None:
    assert said(expires_ms=expires_ms)["beat-expires"].level is level
