"""What a store promises about whole processes."""

from __future__ import annotations

from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.process import OWN_RECORD, ProcessState, mark_overdue
from trellis_celery.domain.step import ProcessStep, StepState
from trellis_celery.ports import Conflict, LeaseKey, ProcessStore, StepKey
from trellis_celery.testing.contract.builders import (
    MINUTE_MS,
    UNKNOWN_ID,
    apply,
    cancel,
    change,
    complete,
    created,
    deadlines,
    fail,
    lapsed,
    new_process,
    queue,
    reopen,
    start,
)


class ProcessPromises:
    #: Steps that are completed one after the other. A slow store may say less.
    many_completions = 1_000

    # Create and find

    def test_a_stored_process_is_loaded_as_it_was_started(self, store: ProcessStore) -> None:
        steps = (ProcessStep("timed", timeout_ms=1_000, retries_permitted=2), ProcessStep("plain"))
        process = created(store, *steps, deadline_ms=MINUTE_MS, metadata={"ward": "é😀", "beds": [1, 2.5, None]})

        loaded = store.load(process.id)

        assert replace(loaded, version=0) == process
        assert list(loaded.steps) == ["timed", "plain"]

    def test_a_second_process_with_the_business_key_of_a_live_one_is_not_stored(self, store: ProcessStore) -> None:
        first, second = (new_process(store, aggregate_id="one") for _ in range(2))
        store.create(first)

        live_id = store.create(second)

        assert live_id == first.id
        assert _is_unknown(store, second.id)

    def test_creating_the_same_process_again_changes_nothing(self, store: ProcessStore) -> None:
        process = created(store)
        apply(store, process, start())

        live_id = store.create(process)

        assert live_id == process.id
        assert store.load(process.id).state is ProcessState.IN_PROGRESS
        assert [event.kind for event in store.history(process.id)].count(EventKind.PROCESS_STARTED) == 1

    def test_one_different_part_makes_a_different_business_key(self, store: ProcessStore) -> None:
        parts = {"tenant_id": "a", "process_type": "b", "aggregate_type": "c", "aggregate_id": "d"}
        first = created(store, **parts)

        others = [created(store, **parts | {part: "other"}) for part in parts]

        assert store.find(first.key) == first.id
        assert [store.find(other.key) for other in others] == [other.id for other in others]

    def test_a_business_key_is_free_again_when_its_process_is_finished(self, store: ProcessStore) -> None:
        for finish in (complete(), fail(), cancel()):
            first = created(store, aggregate_id="one")
            apply(store, first, finish)

            assert store.find(first.key) is None

            second = created(store, aggregate_id="one")
            assert store.find(first.key) == second.id
            apply(store, second, complete())

    def test_a_process_replaces_the_one_that_wrongly_holds_its_business_key(self, store: ProcessStore) -> None:
        first, second = (new_process(store, aggregate_id="one") for _ in range(2))
        store.create(first)

        live_id = store.create(second, replaces=first.id)

        assert live_id == second.id
        assert store.find(second.key) == second.id

    def test_a_process_replaces_nothing_but_what_it_names(self, store: ProcessStore) -> None:
        first, second = (new_process(store, aggregate_id="one") for _ in range(2))
        store.create(first)

        live_id = store.create(second, replaces=UNKNOWN_ID)

        assert live_id == first.id
        assert _is_unknown(store, second.id)

    def test_a_reopened_process_holds_its_business_key_again(self, store: ProcessStore) -> None:
        process = created(store)
        apply(store, process, fail())

        apply(store, process, reopen())

        assert store.find(process.key) == process.id

    def test_a_reopened_process_leaves_its_business_key_to_whoever_holds_it_now(self, store: ProcessStore) -> None:
        first = created(store, aggregate_id="one")
        apply(store, first, fail())
        second = created(store, aggregate_id="one")

        apply(store, first, reopen())
        apply(store, first, complete())

        assert store.find(first.key) == second.id

    def test_loading_an_unknown_process_raises_process_not_found(self, store: ProcessStore) -> None:
        assert _is_unknown(store, UNKNOWN_ID)
        assert store.history(UNKNOWN_ID) == []

    def test_changing_a_loaded_process_does_not_change_the_stored_one(self, store: ProcessStore) -> None:
        process = created(store, metadata={"list": [1]})

        loaded = store.load(process.id)
        loaded.complete_step("step")
        loaded.metadata["list"].append(2)
        process.complete_step("step")

        again = store.load(process.id)
        assert again.step("step").state is StepState.PENDING
        assert again.metadata == {"list": [1]}

    # State

    def test_a_commit_tells_the_state_of_the_process_before_and_after_it(self, store: ProcessStore) -> None:
        process = created(store, "a", "b")

        outcomes = [apply(store, process, rule, name) for name in "ab" for rule in (start(), complete())]

        pending, in_progress, completed = ProcessState.PENDING, ProcessState.IN_PROGRESS, ProcessState.COMPLETED
        assert [(outcome.state_before, outcome.state_after) for outcome in outcomes] == [
            (pending, in_progress),
            (in_progress, in_progress),
            (in_progress, in_progress),
            (in_progress, completed),
        ]

    def test_a_process_of_a_thousand_steps_is_completed_by_the_last_one(self, store: ProcessStore) -> None:
        names = [f"step-{number}" for number in range(self.many_completions)]
        process = created(store, *names)

        outcomes = store.commit([change(process, complete(), name) for name in names])

        states_after = [outcome.state_after for outcome in outcomes]  # type: ignore[union-attr]
        assert states_after == [ProcessState.IN_PROGRESS] * (len(names) - 1) + [ProcessState.COMPLETED]
        assert store.load(process.id).is_completed()

    def test_a_process_has_a_deadline_of_its_own(self, store: ProcessStore) -> None:
        process = created(store, deadline_ms=MINUTE_MS)
        key = StepKey(process.id, OWN_RECORD)
        later_ms = process.started_at_ms + MINUTE_MS

        assert deadlines(store, now_ms=later_ms - 1) == []
        assert [item.key for item in deadlines(store, now_ms=later_ms)] == [key]
        assert store.load_steps([key]) == [process.own]

        apply(store, process, lambda own: mark_overdue(own, now_ms=later_ms), OWN_RECORD)

        assert store.load(process.id).is_overdue
        assert deadlines(store, now_ms=later_ms) == []

    # History

    def test_the_history_has_everything_in_order(self, store: ProcessStore) -> None:
        process = created(store, "a", "b", started_at_ms=1_000)

        apply(store, process, queue(at_ms=2_000), "b")
        apply(store, process, start(at_ms=3_000), "a")
        apply(store, process, complete(at_ms=4_000), "b")
        apply(store, process, fail(at_ms=5_000), "a")

        assert [(event.occurred_at_ms, event.step_name, event.kind) for event in store.history(process.id)] == [
            (1_000, "", EventKind.PROCESS_STARTED),
            (2_000, "b", EventKind.STEP_QUEUED),
            (3_000, "a", EventKind.STEP_STARTED),
            (4_000, "b", EventKind.STEP_COMPLETED),
            (5_000, "a", EventKind.STEP_FAILED),
            (5_000, "", EventKind.PROCESS_FAILED),
        ]
        assert store.history(process.id)[-2].detail == "broken"

    # Delete

    def test_nothing_is_left_of_a_deleted_process(self, store: ProcessStore) -> None:
        process = created(store, deadline_ms=MINUTE_MS)
        apply(store, process, queue(at_ms=store.now_ms()), message=b"message")
        apply(store, process, start(at_ms=store.now_ms(), is_leased=True), lease_ms=MINUTE_MS)
        much_later_ms = store.now_ms() + 365 * 24 * 60 * MINUTE_MS

        assert store.delete(process.id)

        assert _is_unknown(store, process.id)
        assert store.load_steps([StepKey(process.id, "step"), StepKey(process.id, OWN_RECORD)]) == [None, None]
        assert store.load_messages([StepKey(process.id, "step")]) == [None]
        assert store.history(process.id) == []
        assert store.find(process.key) is None
        assert store.list_processes() == []
        assert store.finished(is_archived=False, limit=10) == []
        assert store.due(now_ms=much_later_ms, limit=10) == []

    def test_a_deleted_process_does_not_come_back(self, store: ProcessStore) -> None:
        process = created(store)
        started = apply(store, process, start(is_leased=True), lease_ms=MINUTE_MS)
        store.delete(process.id)

        outcomes = store.commit([change(process, complete())])
        store.renew([LeaseKey(process.id, "step", started.step.attempt)], until_ms=1)

        assert outcomes == [Conflict(None)]
        assert _is_unknown(store, process.id)
        assert lapsed(store, now_ms=store.now_ms() + MINUTE_MS) == []

    def test_deleting_a_process_that_is_gone_does_nothing(self, store: ProcessStore) -> None:
        process = created(store)

        assert [store.delete(process_id) for process_id in (process.id, process.id, UNKNOWN_ID)] == [True, False, False]

        assert _is_unknown(store, process.id)

    def test_deleting_a_process_leaves_its_business_key_to_the_one_that_holds_it(self, store: ProcessStore) -> None:
        first = created(store, aggregate_id="one")
        apply(store, first, complete())
        second = created(store, aggregate_id="one")

        store.delete(first.id)

        assert store.find(second.key) == second.id
        assert store.load(second.id).id == second.id


def _is_unknown(store: ProcessStore, process_id: str) -> bool:
    try:
        store.load(process_id)
    except errors.ProcessNotFound:
        return True
    return False
