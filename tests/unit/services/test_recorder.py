from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from tests.support import logged
from trellis_celery import errors
from trellis_celery.domain import by_hand, outcomes
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep, StepState
from trellis_celery.ports import Change, Committed, Conflict, StepKey
from trellis_celery.services.recorder import MAX_TRIES, Recorder
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.testing import ManualClock, RecordingSink


class CountingStore(MemoryStore):
    """Counts round trips."""

    def __init__(self) -> None:
        super().__init__(clock=ManualClock())
        self.calls: list[str] = []

    def load_steps(self, keys: Any) -> Any:
        self.calls.append("load")
        return super().load_steps(keys)

    def commit(self, changes: Sequence[Change]) -> Any:
        self.calls.append("commit")
        return super().commit(changes)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def process(store: CountingStore) -> Process:
    process = Process.start(
        tenant_id="tenant",
        process_type="Type",
        aggregate_type="Aggregate",
        aggregate_id="1",
        steps=[ProcessStep("a"), ProcessStep("b")],
    )
    store.create(process)
    return process


def test_a_right_guess_takes_one_round_trip(store: CountingStore, process: Process) -> None:
    transition = Recorder(store).apply(StepKey(process.id, "a"), by_hand.start, guess=process.step("a"))

    assert store.calls == ["commit"]
    assert (transition.after.state, transition.after.version) == (StepState.IN_PROGRESS, 2)


def test_a_wrong_guess_costs_a_second_round_trip_and_nothing_else(store: CountingStore, process: Process) -> None:
    outdated = process.step("a")
    Recorder(store).apply(StepKey(process.id, "a"), by_hand.start)
    store.calls.clear()

    transition = Recorder(store).apply(StepKey(process.id, "a"), by_hand.complete, guess=outdated)

    assert store.calls == ["commit", "commit"]
    assert (transition.before.state, transition.after.state) == (StepState.IN_PROGRESS, StepState.COMPLETED)
    assert transition.after.version == 3


def test_what_changes_nothing_is_not_written(store: CountingStore, process: Process) -> None:
    Recorder(store).apply(StepKey(process.id, "a"), by_hand.complete)
    store.calls.clear()

    Recorder(store).apply(StepKey(process.id, "a"), by_hand.complete)

    assert store.calls == ["load"]


def test_a_rule_that_refuses_the_newer_record_is_heard(store: CountingStore, process: Process) -> None:
    Recorder(store).apply(StepKey(process.id, "a"), by_hand.complete)

    with pytest.raises(errors.InvalidTransition):
        Recorder(store).apply(StepKey(process.id, "a"), by_hand.start, guess=process.step("a"))


@pytest.mark.parametrize("guess", [None, ProcessStep("c", version=1)], ids=["read", "guessed"])
def test_a_step_that_does_not_exist_is_not_found(
    store: CountingStore, process: Process, guess: ProcessStep | None
) -> None:
    with pytest.raises(errors.StepNotFound):
        Recorder(store).apply(StepKey(process.id, "c"), by_hand.start, guess=guess)


def test_the_sinks_are_told_what_was_written_and_that_the_process_has_ended(
    store: CountingStore, process: Process
) -> None:
    sink = RecordingSink()
    recorder = Recorder(store, sinks=[sink])

    recorder.apply(StepKey(process.id, "a"), by_hand.complete)
    recorder.apply(StepKey(process.id, "b"), by_hand.complete)

    assert sink.kinds == [EventKind.STEP_COMPLETED, EventKind.STEP_COMPLETED, EventKind.PROCESS_COMPLETED]
    assert {process_id for process_id, _ in sink.events} == {process.id}


def test_a_sink_that_raises_stops_neither_the_write_nor_the_other_sinks(
    store: CountingStore, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def emit(self, process_id: str, event: Event) -> None:
            raise ConnectionError("the pager is away")

    sink = RecordingSink()
    recorder = Recorder(store, sinks=[Broken(), sink])

    for name in ("a", "b"):
        recorder.apply(StepKey(process.id, name), by_hand.complete)

    assert sink.kinds == [EventKind.STEP_COMPLETED, EventKind.STEP_COMPLETED, EventKind.PROCESS_COMPLETED]
    assert logged.events(caplog) == ["sink_failed"] * 3
    assert store.load(process.id).is_completed()


def test_the_sinks_are_not_told_what_was_not_written(store: CountingStore, process: Process) -> None:
    sink = RecordingSink()
    changes = [
        Change(process_id=process.id, transition=outcomes.complete(process.step(name), now_ms=1)) for name in "ab"
    ]
    Recorder(store).apply(StepKey(process.id, "a"), by_hand.start)

    written = Recorder(store, sinks=[sink]).commit(changes)

    assert [type(outcome) for outcome in written] == [Conflict, Committed]
    assert [event.step_name for _, event in sink.events] == ["b"]


def test_a_damaged_record_is_an_error(process: Process) -> None:
    class Damaged(MemoryStore):
        def load_steps(self, keys: Any) -> Any:
            return [errors.CorruptRecord(key="a", problem="not ours")]

    with pytest.raises(errors.CorruptRecord):
        Recorder(Damaged()).apply(StepKey(process.id, "a"), by_hand.start)


def test_a_store_that_is_down_is_an_error(process: Process) -> None:
    class Down(MemoryStore):
        def commit(self, changes: Any) -> Any:
            return [errors.StoreUnavailable("no answer")]

    with pytest.raises(errors.StoreUnavailable):
        Recorder(Down()).apply(StepKey(process.id, "a"), by_hand.start, guess=process.step("a"))


def test_conflicts_without_end_are_an_error(process: Process) -> None:
    class Conflicting(MemoryStore):
        tries = 0

        def commit(self, changes: Any) -> Any:
            self.tries += 1
            return [Conflict(process.step("a"))]

    store = Conflicting()

    with pytest.raises(errors.StoreError, match="meanwhile"):
        Recorder(store).apply(StepKey(process.id, "a"), by_hand.start, guess=process.step("a"))

    assert store.tries == MAX_TRIES


def test_what_makes_no_sense_of_a_wrong_guess_is_asked_of_the_record_as_it_is(
    store: CountingStore, process: Process
) -> None:
    old, key = process.step("a"), StepKey(process.id, "a")
    recorder = Recorder(store)
    recorder.apply(key, partial(by_hand.fail, error="broken"), guess=old)
    failed = store.load(process.id).step("a")
    recorder.apply(key, partial(outcomes.reopen, has_message=False))

    transition = recorder.apply(key, by_hand.complete, guess=failed)

    assert transition.after.state is StepState.COMPLETED
    with pytest.raises(errors.InvalidTransition):
        recorder.apply(key, partial(by_hand.fail, error="broken"), guess=transition.after)
