"""One execution of one attempt, and what may come twice."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from celery.exceptions import Ignore

from trellis_celery.domain.events import EventKind
from trellis_celery.domain.step import DeadlineKind
from trellis_celery.plugin.headers import Header
from trellis_celery.plugin.run import Run
from trellis_celery.ports import Change, Committed, Conflict
from trellis_celery.services.recorder import Recorder
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.testing import ManualClock
from trellis_celery.testing.contract import builders


class Forgetful(MemoryStore):
    """It writes the first change and takes the repetition, after a lost reply, for somebody else's."""

    def commit(self, changes: Sequence[Change]) -> list[Committed | Conflict | Exception]:
        first = super().commit(changes)
        return first if isinstance(first[0], Conflict) else [Conflict(first[0].step)]  # type: ignore[union-attr]


def new_run(store: MemoryStore, process_id: str) -> Run:
    """As each child makes it of the message that the worker has received once."""
    header = Header(process_id=process_id, process_type="T", step_name="step", task_id="1", attempt=1, run_id="run")
    return Run(Recorder(store), header, celery_retries=0, lease_ms=1_000, worker="w")


def test_a_run_that_a_dead_child_has_begun_is_begun_by_no_other_and_the_attempt_is_lost() -> None:
    clock = ManualClock()
    store = MemoryStore(clock=clock)
    process = builders.created(store, "step")
    new_run(store, process.id).start()
    clock.advance(1)

    again = new_run(store, process.id)
    again.start()

    with pytest.raises(Ignore):
        again.require_acceptance()
    step = store.load(process.id).step("step")
    assert (step.attempt, step.deadline_kind, step.deadline_ms) == (1, DeadlineKind.LOST, clock.now_ms())
    assert [event.kind for event in store.history(process.id)][-1] is EventKind.RUN_LOST


def test_a_run_whose_start_was_written_without_anybody_saying_so_starts() -> None:
    store = Forgetful(clock=ManualClock())
    process = builders.created(store, "step")

    run = new_run(store, process.id)
    run.start()

    run.require_acceptance()
    assert store.load(process.id).step("step").run_id == "run"
