"""What the store could not be told of is told when it is back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest

from tests.support.waiting import eventually
from trellis_celery import errors
from trellis_celery.domain import outcomes, runs
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.step import StepState
from trellis_celery.plugin.headers import Header
from trellis_celery.plugin.kept import KeptWrites
from trellis_celery.plugin.run import Run
from trellis_celery.ports import Change, Committed, Conflict, StepKey
from trellis_celery.services.recorder import Recorder
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.testing.contract import builders


class Store(MemoryStore):
    """A store that can be away."""

    is_away = False
    asked = 0

    def commit(self, changes: Sequence[Change]) -> list[Committed | Conflict | Exception]:
        self.asked += 1
        if self.is_away:
            return [errors.StoreUnavailable("away") for _ in changes]
        return super().commit(changes)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def refused() -> list[StepKey]:
    return []


@pytest.fixture
def kept(store: Store, refused: list[StepKey]) -> KeptWrites:
    return KeptWrites(lambda: Recorder(store), lambda key, error: refused.append(key))


def state_of(store: Store, key: StepKey) -> StepState:
    return store.load(key.process_id).step(key.step_name).state


def test_an_outcome_is_told_when_the_store_is_back(store: Store, kept: KeptWrites) -> None:
    key = StepKey(builders.created(store, "step").id, "step")
    store.is_away = True
    kept.keep(key, partial(outcomes.complete, run_id="run"))
    eventually(lambda: store.asked >= 2, what="tried twice")
    assert state_of(store, key) is StepState.PENDING

    store.is_away = False

    eventually(lambda: state_of(store, key) is StepState.COMPLETED, what="told")


def test_an_outcome_of_a_step_that_is_gone_is_counted_and_keeps_back_no_other(
    store: Store, kept: KeptWrites, refused: list[StepKey]
) -> None:
    gone, there = (StepKey(builders.created(store, "step").id, "step") for _ in range(2))
    store.delete(gone.process_id)

    for key in (gone, there):
        kept.keep(key, partial(outcomes.complete, run_id="run"))

    eventually(lambda: state_of(store, there) is StepState.COMPLETED, what="told")
    assert refused == [gone]


def test_a_process_that_ends_tells_what_it_can(store: Store, kept: KeptWrites) -> None:
    key = StepKey(builders.created(store, "step").id, "step")
    store.is_away = True
    kept.keep(key, partial(outcomes.complete, run_id="run"))
    eventually(lambda: store.asked >= 1, what="tried")
    store.is_away = False

    kept._flush()

    assert state_of(store, key) is StepState.COMPLETED


def test_the_end_of_a_run_is_told_after_the_messages_that_it_sent(store: Store, kept: KeptWrites) -> None:
    process = builders.created(store, "first", "second")
    header = Header(process_id=process.id, process_type=process.process_type, step_name="first", task_id="1", attempt=1)
    run = Run(Recorder(store), header, celery_retries=0, lease_ms=0, worker=None, keep=kept.keep)
    run.start()
    store.is_away = True
    queued = partial(runs.queue, task_id="2", args_digest="", is_late=True)
    kept.keep(StepKey(process.id, "second"), queued, b"message")
    run.has_untold = True
    asked = store.asked
    store.is_away = False

    run.complete()

    assert store.asked - asked <= 1, "the run has asked the store itself"
    eventually(lambda: state_of(store, run.key) is StepState.COMPLETED, what="told")
    kinds = [event.kind for event in store.history(process.id) if event.kind is not EventKind.PROCESS_STARTED]
    assert kinds == [EventKind.STEP_STARTED, EventKind.STEP_QUEUED, EventKind.STEP_COMPLETED]
    assert store.load_messages([StepKey(process.id, "second")]) == [b"message"]
