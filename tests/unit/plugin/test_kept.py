"""What the store could not be told of is told when it is back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest

from tests.support.waiting import eventually
from trellis_celery import errors
from trellis_celery.domain import outcomes
from trellis_celery.domain.step import StepState
from trellis_celery.plugin.kept import KeptOutcomes
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
def kept(store: Store, refused: list[StepKey]) -> KeptOutcomes:
    return KeptOutcomes(lambda: Recorder(store), lambda key, error: refused.append(key))


def state_of(store: Store, key: StepKey) -> StepState:
    return store.load(key.process_id).step(key.step_name).state


def test_an_outcome_is_told_when_the_store_is_back(store: Store, kept: KeptOutcomes) -> None:
    key = StepKey(builders.created(store, "step").id, "step")
    store.is_away = True
    kept.keep(key, partial(outcomes.complete, run_id="run"))
    eventually(lambda: store.asked >= 2, what="tried twice")
    assert state_of(store, key) is StepState.PENDING

    store.is_away = False

    eventually(lambda: state_of(store, key) is StepState.COMPLETED, what="told")


def test_an_outcome_of_a_step_that_is_gone_is_counted_and_keeps_back_no_other(
    store: Store, kept: KeptOutcomes, refused: list[StepKey]
) -> None:
    gone, there = (StepKey(builders.created(store, "step").id, "step") for _ in range(2))
    store.delete(gone.process_id)

    for key in (gone, there):
        kept.keep(key, partial(outcomes.complete, run_id="run"))

    eventually(lambda: state_of(store, there) is StepState.COMPLETED, what="told")
    assert refused == [gone]


def test_a_process_that_ends_tells_what_it_can(store: Store, kept: KeptOutcomes) -> None:
    key = StepKey(builders.created(store, "step").id, "step")
    store.is_away = True
    kept.keep(key, partial(outcomes.complete, run_id="run"))
    eventually(lambda: store.asked >= 1, what="tried")
    store.is_away = False

    kept._flush()

    assert state_of(store, key) is StepState.COMPLETED
