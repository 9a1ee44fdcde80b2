"""Findings in the order in which they matter."""

from __future__ import annotations

import pytest

from trellis_celery.doctor.finding import Finding, Level, note, ok, problem, warning
from trellis_celery.doctor.report import Notes, Report

BAD = problem("bad", why="it breaks", advice="mend it")
POOR = warning("poor", why="it may break", advice="mend it")


def report(*findings: Finding) -> Report:
    notes = Notes()
    for finding in findings:
        notes.add(finding, check="a-check")
    return notes.report()


def test_the_worst_comes_first_and_equals_stay_in_their_order() -> None:
    found = report(ok("first"), note("note"), BAD, POOR, ok("second"))

    assert [finding.found for finding in found.findings] == ["bad", "poor", "note", "first", "second"]


@pytest.mark.parametrize(
    ("finding", "is_bad", "is_bad_if_strict"), [(BAD, True, True), (POOR, False, True), (note("n"), False, False)]
)
def test_only_the_strict_take_a_warning_for_bad(finding: Finding, is_bad: bool, is_bad_if_strict: bool) -> None:
    found = report(ok("fine"), finding)

    assert (found.is_bad(), found.is_bad(strict=True)) == (is_bad, is_bad_if_strict)


def test_a_check_that_could_not_be_made_is_told_with_the_first_reason() -> None:
    notes = Notes()

    notes.leave_out(["a", "b"], "the store does not answer")
    notes.leave_out(["b"], "something else")

    assert notes.report().unchecked == {"a": "the store does not answer", "b": "the store does not answer"}


def test_levels_are_in_the_order_of_their_weight() -> None:
    assert sorted(Level, key=lambda level: level.weight) == [Level.OK, Level.NOTE, Level.WARNING, Level.PROBLEM]
