"""What is said of how the work goes."""

from __future__ import annotations

from typing import Any

import pytest

from trellis_celery.doctor.finding import Finding, Level, judge
from trellis_celery.doctor.work import CHECKS, WorkFacts

NOW_MS = 1_000_000_000


def said(**facts: Any) -> dict[str, Finding]:
    """What each check says."""
    given = {"now_ms": NOW_MS, "checked_at_ms": NOW_MS - 400, "checked_by": "beat, run by a:1", **facts}
    return {finding.check: finding for finding in judge(CHECKS, WorkFacts(**given))}


@pytest.mark.parametrize(
    ("facts", "level", "found"),
    [
        ({}, Level.OK, "400 ms ago, by beat, run by a:1"),
        ({"checked_by": "worker one@shop"}, Level.WARNING, "in place of beat"),
        ({"checked_by": "command line, a:2"}, Level.OK, "command line"),
        ({"checked_at_ms": 0}, Level.PROBLEM, "nobody has ever"),
        ({"checked_at_ms": NOW_MS - 5_000}, Level.OK, "5 s ago"),
        ({"checked_at_ms": NOW_MS - 5_001}, Level.PROBLEM, "5 s ago"),
        ({"checked_at_ms": NOW_MS - 60_000, "check_interval_ms": 30_000}, Level.OK, "1 min ago"),
    ],
)
def test_the_last_check_is_judged_by_its_age_in_intervals_and_by_who_made_it(
    facts: dict[str, Any], level: Level, found: str
) -> None:
    finding = said(**facts)["check-age"]

    assert finding.level is level
    assert found in finding.found


@pytest.mark.parametrize(
    ("due", "checked_at_ms", "level"),
    [(0, NOW_MS, Level.OK), (3, NOW_MS, Level.NOTE), (3, NOW_MS - 60_000, Level.PROBLEM)],
)
def test_late_steps_are_a_problem_when_nobody_looks(due: int, checked_at_ms: int, level: Level) -> None:
    assert said(due=due, checked_at_ms=checked_at_ms)["check-due"].level is level


@pytest.mark.parametrize(("number", "level"), [(0, Level.OK), (1, Level.WARNING)])
def test_an_open_incident_is_a_warning(number: int, level: Level) -> None:
    assert said(incidents=number)["incidents"].level is level


def test_types_that_nothing_declares_are_told() -> None:
    strange, known, empty = said(undeclared=frozenset({"Old"}), live=1), said(live=1), said()

    assert (strange["types-declared"].level, known["types-declared"].level) == (Level.WARNING, Level.OK)
    assert "Old" in strange["types-declared"].found
    assert "types-declared" not in empty


@pytest.mark.parametrize(
    ("facts", "level", "found"),
    [
        ({}, Level.NOTE, "for ever: 0 so far"),
        ({"retention_ms": 86_400_000}, Level.OK, "after 1 d"),
        (
            {"retention_ms": 1, "has_archive": True, "waiting": 2, "waiting_since_ms": NOW_MS - 9},
            Level.OK,
            "2 processes",
        ),
        (
            {"retention_ms": 1, "has_archive": True, "waiting": 2, "waiting_since_ms": NOW_MS - 300_001},
            Level.PROBLEM,
            "the first for 5 min",
        ),
        (
            {"retention_ms": 1, "has_archive": True, "waiting": 51, "history_backlog": 100},
            Level.PROBLEM,
            "51 processes",
        ),
    ],
)
def test_an_archive_that_is_behind_is_a_problem_and_a_store_that_grows_for_ever_a_note(
    facts: dict[str, Any], level: Level, found: str
) -> None:
    finding = said(**facts)["history"]

    assert finding.level is level
    assert found in finding.found


@pytest.mark.parametrize(
    ("since_ms", "level"), [(None, Level.OK), (NOW_MS - 1_000, Level.OK), (NOW_MS - 300_001, Level.PROBLEM)]
)
def test_events_that_are_not_relayed_are_a_problem(since_ms: int | None, level: Level) -> None:
    assert said(unrelayed=4, unrelayed_since_ms=since_ms)["outbox"].level is level


def test_nothing_is_said_of_an_outbox_that_nobody_uses() -> None:
    assert "outbox" not in said(unrelayed=None)
