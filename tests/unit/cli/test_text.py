from __future__ import annotations

import pytest

from trellis_celery.cli import text
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.process import Process
from trellis_celery.domain.queries import ProcessSummary
from trellis_celery.domain.step import ProcessStep
from trellis_celery.services.history import HistoryReport


def a_process() -> Process:
    process = Process.start(
        tenant_id="clinic-7",
        process_type="Intake",
        aggregate_type="Referral",
        aggregate_id="r-1",
        steps=[ProcessStep("check", timeout_ms=60_000, retries_permitted=2), ProcessStep("book")],
        now_ms=1_000_000,
    )
    process.start_step("check", now_ms=1_000_000)
    process.complete_step("book", now_ms=1_000_500)
    return process


def test_the_list_shows_who_what_and_how_far() -> None:
    process = a_process()

    head, row = text.process_table([ProcessSummary.of(process)], now_ms=1_090_000).splitlines()

    assert head.split() == ["PROCESS", "TYPE", "TENANT", "AGGREGATE", "STATE", "STEPS", "STARTED"]
    cells = [cell.strip() for cell in row.split("  ") if cell.strip()]
    assert cells == [process.id, "Intake", "clinic-7", "Referral r-1", "in_progress", "1/2", "1.5 min ago"]


def test_an_empty_list_says_so() -> None:
    assert text.process_table([], now_ms=0) == "No processes."


def test_the_page_of_a_process_shows_attempts_deadlines_and_what_happened() -> None:
    history = [Event(EventKind.STEP_STARTED, "check", 1, 1_000_250, "worker-1")]

    page = text.process_page(a_process(), history, now_ms=1_010_000)

    assert "check  in_progress  1 of 3   run in 50.0 s" in page
    assert "+0.250 s  step_started  check  1        worker-1" in page


def test_a_process_from_the_archive_is_shown_as_one() -> None:
    assert "(from the archive)" in text.process_page(a_process(), [], now_ms=1_010_000, is_archived=True)


def test_a_pass_over_the_history_is_told_in_a_line() -> None:
    report = HistoryReport(archived=3, waiting=2, waiting_since_ms=10_000)

    assert text.history_line(report, now_ms=70_000) == (
        "archived: 3, removed: 0, dropped: 0, failed: 0; waiting: 2 (first 1.0 min ago)"
    )


def test_text_from_outside_can_neither_break_the_table_nor_drive_the_terminal() -> None:
    history = [Event(EventKind.STEP_FAILED, "check", 1, 1_000_250, "line\nbreak \x1b[31m and \x07 bell")]

    page = text.process_page(a_process(), history, now_ms=1_010_000)

    assert page.splitlines()[-1].endswith("line?break ?[31m and ? bell")


@pytest.mark.parametrize(
    ("elapsed_ms", "expected"),
    [
        (0, "0.0 s ago"),
        (59_900, "59.9 s ago"),
        (60_000, "1.0 min ago"),
        (5_400_000, "1.5 h ago"),
        (172_800_000, "2.0 d ago"),
        (-2_500, "in 2.5 s"),
    ],
)
def test_an_elapsed_time_reads_in_its_largest_unit(elapsed_ms: int, expected: str) -> None:
    assert text.ago(elapsed_ms) == expected
