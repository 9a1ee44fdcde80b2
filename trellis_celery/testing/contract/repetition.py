"""What becomes of a write that its writer repeats because the reply was lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import Struct

from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import Change, Committed, Conflict, Due, LastCheck, LeaseKey, ProcessStore, StepKey
from trellis_celery.testing.contract.audit import END_OF_TIME_MS, snapshot
from trellis_celery.testing.contract.builders import (
    MINUTE_MS,
    apply,
    change,
    complete,
    created,
    deadlines,
    fail,
    lapsed,
    loaded_step,
    new_process,
    queue,
    reopen,
    start,
)


class _Scene(Struct, frozen=True):
    """A store with something in it for each operation to work on."""

    store: ProcessStore
    #: Runs, with a lease, a message and a deadline.
    running: Process
    #: Has failed, and was reopened and failed again.
    failed: Process
    #: Is finished, and waits for being archived.
    waiting: Process
    #: Is not stored.
    new: Process

    @property
    def processes(self) -> list[Process]:
        return [self.running, self.failed, self.waiting, self.new]


def _scene(store: ProcessStore) -> _Scene:
    now_ms = store.now_ms()
    timed = ProcessStep("step", timeout_ms=MINUTE_MS)
    scene = _Scene(
        store,
        running=created(store, timed, "other", deadline_ms=MINUTE_MS),
        failed=created(store, "step", "other"),
        waiting=created(store),
        new=new_process(store, timed, ProcessStep("other", timeout_ms=MINUTE_MS, external=True), deadline_ms=MINUTE_MS),
    )
    apply(store, scene.running, queue(at_ms=now_ms), message=b"message")
    apply(store, scene.running, start(at_ms=now_ms, is_leased=True), lease_ms=MINUTE_MS)
    for rule in (fail(), reopen(), fail()):
        apply(store, scene.failed, rule)
    apply(store, scene.waiting, complete())
    return scene


#: One call each; whatever is new in it is made once, so that calling it again is the same call.
Call = Callable[[], object]


def _create(scene: _Scene) -> Call:
    return lambda: scene.store.create(scene.new)


def _commit_start(scene: _Scene) -> Call:
    rule = start(at_ms=scene.store.now_ms(), attempt=2, is_leased=True)
    changes = [change(scene.running, rule, message=b"another", lease_ms=2 * MINUTE_MS)]
    return lambda: scene.store.commit(changes)


def _commit_last(scene: _Scene) -> Call:
    """Finishes a process."""
    apply(scene.store, scene.running, complete(), "other")
    changes = [change(scene.running, complete())]
    return lambda: scene.store.commit(changes)


def _commit_reopening(scene: _Scene) -> Call:
    changes = [change(scene.failed, reopen())]
    return lambda: scene.store.commit(changes)


def _commit_batch(scene: _Scene) -> Call:
    changes = [
        change(scene.running, complete()),
        change(scene.running, queue(at_ms=1), "other", message=b"other"),
        change(scene.failed, start(), "other"),
        change(scene.new, start()),
    ]
    return lambda: scene.store.commit(changes)


def _discard_for_good(scene: _Scene) -> Call:
    due = scene.store.due(now_ms=END_OF_TIME_MS, limit=100)
    return lambda: scene.store.discard(due, until_ms=None)


def _discard_for_a_while(scene: _Scene) -> Call:
    due = scene.store.due(now_ms=END_OF_TIME_MS, limit=100)
    return lambda: scene.store.discard(due, until_ms=scene.running.started_at_ms + 9 * MINUTE_MS)


def _renew(scene: _Scene) -> Call:
    until_ms = scene.running.started_at_ms + 9 * MINUTE_MS
    return lambda: scene.store.renew([LeaseKey(scene.running.id, "step", 1)], until_ms=until_ms)


def _note_check(scene: _Scene) -> Call:
    return lambda: scene.store.note_check(LastCheck(1_000, "checker", 2_000))


def _mark_archived(scene: _Scene) -> Call:
    finished = scene.store.finished(is_archived=False, limit=100)
    return lambda: scene.store.mark_archived(finished)


def _delete(scene: _Scene) -> Call:
    return lambda: scene.store.delete(scene.running.id)


def _delete_finished(scene: _Scene) -> Call:
    (since_ms,) = [
        each.since_ms
        for each in scene.store.finished(is_archived=False, limit=100)
        if each.process_id == scene.waiting.id
    ]
    return lambda: scene.store.delete(scene.waiting.id, finished_since_ms=since_ms)


CALLS: dict[str, Callable[[_Scene], Call]] = {
    function.__name__.removeprefix("_"): function
    for function in (
        _create,
        _commit_start,
        _commit_last,
        _commit_reopening,
        _commit_batch,
        _discard_for_good,
        _discard_for_a_while,
        _renew,
        _note_check,
        _mark_archived,
        _delete,
        _delete_finished,
    )
}


class RepetitionPromises:
    @pytest.mark.parametrize("name", CALLS)
    def test_a_call_that_is_repeated_changes_nothing_more(self, store: ProcessStore, name: str) -> None:
        scene = _scene(store)
        call = CALLS[name](scene)
        before = snapshot(store, scene.processes)
        call()
        once = snapshot(store, scene.processes)
        assert once != before

        call()
        call()

        assert snapshot(store, scene.processes) == once

    def test_a_process_that_was_finished_before_its_start_was_repeated_is_not_started_again(
        self, store: ProcessStore
    ) -> None:
        process = new_process(store)
        store.create(process)
        (completed,) = store.commit([change(process, complete())])
        assert isinstance(completed, Committed)
        finished = snapshot(store, [process])

        store.create(process)

        assert snapshot(store, [process]) == finished

    def test_a_process_that_was_archived_before_its_end_was_repeated_waits_no_longer(self, store: ProcessStore) -> None:
        process = created(store)
        completed = change(process, complete())
        store.commit([completed])
        store.mark_archived(store.finished(is_archived=False, limit=10))

        store.commit([completed])

        assert store.count_finished(is_archived=False) == 0
        assert store.count_finished(is_archived=True) == 1

    def test_a_deletion_that_is_repeated_spares_the_process_that_came_after(self, store: ProcessStore) -> None:
        first = created(store, aggregate_id="one")
        store.delete(first.id)
        second = created(store, aggregate_id="one")
        before = snapshot(store, [first, second])

        assert not store.delete(first.id)

        assert snapshot(store, [first, second]) == before

    def test_a_clock_that_was_set_before_its_discarding_was_repeated_stands(self, store: ProcessStore) -> None:
        process = created(store, ProcessStep("step", timeout_ms=1_000))
        apply(store, process, start(at_ms=1_000, is_leased=True), lease_ms=1)
        seen = store.due(now_ms=END_OF_TIME_MS, limit=10)
        store.discard(seen, until_ms=None)
        apply(store, process, start(at_ms=2_000, attempt=2, is_leased=True), lease_ms=1)

        store.discard(seen, until_ms=None)

        assert deadlines(store, now_ms=END_OF_TIME_MS) == [Due(StepKey(process.id, "step"), 3_000)]
        assert [item.lapsed_attempt for item in lapsed(store, now_ms=END_OF_TIME_MS)] == [2]

    def test_a_repeated_commit_is_recognised_and_done_once(self, store: ProcessStore) -> None:
        process = created(store)
        started = change(process, start())
        (first,) = store.commit([started])
        history = store.history(process.id)

        (second,) = store.commit([started])

        assert isinstance(first, Committed)
        assert isinstance(second, Committed)
        assert second.step == first.step == loaded_step(store, process)
        assert store.history(process.id) == history

    def test_a_commit_repeated_after_others_have_written_is_a_conflict(self, store: ProcessStore) -> None:
        process = created(store)
        started = change(process, start())
        (first,) = store.commit([started])
        assert isinstance(first, Committed)
        process.steps["step"] = first.step
        completed = apply(store, process, complete())

        assert store.commit([started]) == [Conflict(completed.step)]

    def test_the_same_change_by_somebody_else_is_a_conflict(self, store: ProcessStore) -> None:
        process = created(store)
        ours = change(process, start())
        theirs = Change(process_id=process.id, transition=ours.transition)
        (first,) = store.commit([ours])
        assert isinstance(first, Committed)

        assert store.commit([theirs]) == [Conflict(first.step)]

    def test_of_a_batch_that_is_repeated_with_one_more_only_that_one_is_new(self, store: ProcessStore) -> None:
        process = created(store, "a", "b", "c")
        changes = [change(process, start(), name) for name in "abc"]
        first = store.commit(changes[:2])

        outcomes = store.commit(changes)

        assert [type(outcome) for outcome in outcomes] == [Committed] * 3
        assert [_step(outcome) for outcome in outcomes[:2]] == [_step(outcome) for outcome in first]
        assert [record.version for record in store.load(process.id).steps.values()] == [2, 2, 2]
        assert len(store.history(process.id)) == 4


def _step(outcome: object) -> ProcessStep:
    assert isinstance(outcome, Committed), outcome
    return outcome.step


class PairRepetition(RepetitionPromises):
    """A pair of repositories keeps no tokens: who repeats a write is told what is written now, and decides again."""

    def test_a_repeated_commit_is_recognised_and_done_once(self, store: ProcessStore) -> None:
        process = created(store)
        started = change(process, start())
        (first,) = store.commit([started])
        assert isinstance(first, Committed)
        history = store.history(process.id)

        assert store.commit([started]) == [Conflict(first.step)]
        assert store.history(process.id) == history

    def test_of_a_batch_that_is_repeated_with_one_more_only_that_one_is_new(self, store: ProcessStore) -> None:
        process = created(store, "a", "b", "c")
        changes = [change(process, start(), name) for name in "abc"]
        first = store.commit(changes[:2])

        outcomes = store.commit(changes)

        assert outcomes[:2] == [Conflict(_step(outcome)) for outcome in first]
        assert [record.version for record in store.load(process.id).steps.values()] == [2, 2, 2]
        assert len(store.history(process.id)) == 4
