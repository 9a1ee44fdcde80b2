"""What is said of any store."""

from __future__ import annotations

from typing import Any

import pytest

from trellis_celery.doctor.finding import Finding, Level, judge
from trellis_celery.doctor.store import CHECKS, Reach, StoreFacts, unreachable


def said(**facts: Any) -> dict[str, Finding]:
    """What each check says."""
    given = {"place": "redis://shop/1", "round_trip_ms": 0.4, "offset_ms": 1.0, **facts}
    return {finding.check: finding for finding in judge(CHECKS, StoreFacts(**given))}


@pytest.mark.parametrize(
    ("round_trip_ms", "timeout_ms", "level"),
    [(0.4, 2_000, Level.OK), (49, 2_000, Level.OK), (51, 2_000, Level.WARNING), (30, 100, Level.WARNING)],
)
def test_a_store_that_is_far_away_is_a_warning(round_trip_ms: float, timeout_ms: int, level: Level) -> None:
    assert said(round_trip_ms=round_trip_ms, timeout_ms=timeout_ms)["store-reachable"].level is level


@pytest.mark.parametrize(
    ("offset_ms", "level", "found"),
    [
        (1_900, Level.OK, "the same time"),
        (2_500, Level.WARNING, "2.5 s behind the store"),
        (-90_000, Level.WARNING, "1.5 min ahead of the store"),
    ],
)
def test_a_clock_that_differs_is_told_with_its_direction(offset_ms: float, level: Level, found: str) -> None:
    finding = said(offset_ms=offset_ms)["store-clock"]

    assert finding.level is level
    assert found in finding.found


def test_a_store_on_this_machine_has_this_machines_time() -> None:
    assert "store-clock" not in said(reach=Reach.MACHINE, offset_ms=0)


@pytest.mark.parametrize(
    ("facts", "level"),
    [({}, Level.OK), ({"reach": Reach.MACHINE}, Level.NOTE), ({"reach": Reach.PROGRAM}, Level.PROBLEM)],
)
def test_a_store_that_others_do_not_see_is_told(facts: dict[str, Reach], level: Level) -> None:
    assert said(**facts)["store-shared"].level is level


def test_where_it_could_not_be_found_out_who_sees_a_store_nothing_is_said() -> None:
    assert "store-shared" not in said(reach=None)


def test_without_its_store_tracking_stops_and_without_its_archive_processes_pile_up() -> None:
    store = unreachable("redis://shop/1", setting="trellis_url", error="refused")
    archive = unreachable("postgresql://shop", setting="trellis_history_url", error="refused", is_archive=True)

    assert "untracked" in store.why
    assert "pile up" in archive.why
    assert "trellis_history_url" in archive.advice
