"""The numbers in the head of a page."""

from __future__ import annotations

from trellis_celery.domain.process import ProcessState
from trellis_celery.domain.queries import ProcessGroup, Stats
from trellis_celery.flower.counts import Counts


def test_groups_are_summed_by_what_a_page_asks_for() -> None:
    stats = Stats(
        processes={
            ProcessGroup("Order", ProcessState.FAILED, False, True): 2,
            ProcessGroup("Order", ProcessState.IN_PROGRESS, True, False): 3,
            ProcessGroup("Referral", ProcessState.IN_PROGRESS, True, True): 5,
            ProcessGroup("Referral", ProcessState.COMPLETED, False, False): 7,
        },
        due=11,
    )

    counts = Counts.of(stats)

    assert counts.by_state == {ProcessState.FAILED: 2, ProcessState.IN_PROGRESS: 8, ProcessState.COMPLETED: 7}
    assert (counts.overdue, counts.incidents, counts.due) == (8, 7, 11)
    assert counts.types == ("Order", "Referral")


def test_what_nobody_has_counted_is_not_known_to_be_nothing() -> None:
    assert not Counts.of(None).is_known
    assert Counts.of(Stats(processes={})).is_known
