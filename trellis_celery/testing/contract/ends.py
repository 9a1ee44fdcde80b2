"""The log tells how the process itself ended, from the very commit that ended it."""

from __future__ import annotations

import pytest

from trellis_celery.domain.events import EventKind
from trellis_celery.domain.process import OWN_ENDS, ProcessState
from trellis_celery.ports import ProcessStore
from trellis_celery.testing.contract.builders import (
    Rule,
    apply,
    cancel,
    complete,
    complete_after_all,
    created,
    fail,
    reopen,
    start,
)


def ends(store: ProcessStore, process_id: str) -> list[tuple[EventKind, str, int]]:
    history = store.history(process_id)
    return [(event.kind, event.step_name, event.occurred_at_ms) for event in history if event.kind in OWN_ENDS]


class EndPromises:
    @pytest.mark.parametrize(
        ("rule", "kind"),
        [
            (complete(at_ms=9), EventKind.PROCESS_COMPLETED),
            (fail(at_ms=9), EventKind.PROCESS_FAILED),
            (cancel(at_ms=9), EventKind.PROCESS_CANCELLED),
        ],
    )
    def test_the_log_tells_how_the_process_ended(self, store: ProcessStore, rule: Rule, kind: EventKind) -> None:
        process = created(store, started_at_ms=1)
        apply(store, process, start(at_ms=2))
        assert ends(store, process.id) == []

        apply(store, process, rule)

        assert ends(store, process.id) == [(kind, "", 9)]
        assert store.history(process.id)[-1].kind is kind

    def test_the_end_is_told_once_however_many_steps_there_are(self, store: ProcessStore) -> None:
        process = created(store, *"abc", started_at_ms=1)

        for step_name in "abc":
            apply(store, process, complete(at_ms=9), step_name)

        assert ends(store, process.id) == [(EventKind.PROCESS_COMPLETED, "", 9)]

    def test_a_failed_process_stays_so_when_other_steps_end(self, store: ProcessStore) -> None:
        process = created(store, "a", "b", started_at_ms=1)
        apply(store, process, fail(at_ms=8), "a")

        apply(store, process, complete(at_ms=9), "b")

        assert ends(store, process.id) == [(EventKind.PROCESS_FAILED, "", 8)]

    def test_a_process_that_was_reopened_ends_again(self, store: ProcessStore) -> None:
        process = created(store, started_at_ms=1)
        apply(store, process, fail(at_ms=7))
        apply(store, process, reopen(at_ms=8))

        apply(store, process, complete(at_ms=9))

        assert ends(store, process.id) == [(EventKind.PROCESS_FAILED, "", 7), (EventKind.PROCESS_COMPLETED, "", 9)]

    def test_a_failed_process_may_come_to_another_end_in_one_write(self, store: ProcessStore) -> None:
        process = created(store, started_at_ms=1)
        apply(store, process, fail(at_ms=7))

        outcome = apply(store, process, complete_after_all(at_ms=9))

        assert (outcome.state_before, outcome.state_after) == (ProcessState.FAILED, ProcessState.COMPLETED)
        assert ends(store, process.id) == [(EventKind.PROCESS_FAILED, "", 7), (EventKind.PROCESS_COMPLETED, "", 9)]
        assert store.find(process.key) is None
        assert [each.state for each in store.list_processes()] == [ProcessState.COMPLETED]
        assert store.load(process.id).step("step") == process.step("step")
