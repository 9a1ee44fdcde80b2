from __future__ import annotations

from trellis_celery.cli.maintenance import history_line
from trellis_celery.services.history import HistoryReport


def test_a_pass_over_the_history_is_told_in_a_line() -> None:
    report = HistoryReport(archived=3, waiting=2, waiting_since_ms=10_000)

    assert history_line(report, now_ms=70_000) == (
        "archived: 3, removed: 0, dropped: 0, failed: 0; waiting: 2 (first 1.0 min ago)"
    )
