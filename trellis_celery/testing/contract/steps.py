"""What a store promises about the records of steps: one writer per version, and all of a change or nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from msgspec.structs import replace

from trellis_celery.domain import outcomes
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.process import ProcessState
from trellis_celery.domain.step import StepState
from trellis_celery.ports import Change, Committed, Conflict, ProcessStore, StepKey
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
    loaded_step,
    message_of,
    new_process,
    queue,
    start,
)

THREADS = 8


class StepPromises:
    # Commit

    def test_a_commit_writes_the_next_version_of_the_record(self, store: ProcessStore) -> None:
        process = created(store)

        outcome = apply(store, process, start(at_ms=1_000))

        assert outcome.step.version == 2
        assert outcome.step.started_at_ms == 1_000
        assert loaded_step(store, process) == outcome.step
        assert store.load(process.id).step("step") == outcome.step

    def test_a_commit_made_from_an_old_record_is_a_conflict_and_changes_nothing(self, store: ProcessStore) -> None:
        process = created(store)
        stale = change(process, queue(at_ms=store.now_ms()), message=b"stale")
        first = apply(store, process, start())
        history = store.history(process.id)

        outcomes = store.commit([stale])

        assert outcomes == [Conflict(first.step)]
        assert loaded_step(store, process) == first.step
        assert message_of(store, process) is None
        assert deadlines(store, now_ms=store.now_ms() + 60 * MINUTE_MS) == []
        assert store.history(process.id) == history

    def test_a_commit_made_from_a_version_that_never_was_is_a_conflict(self, store: ProcessStore) -> None:
        process = created(store)
        record = process.step("step")

        outcomes = [
            store.commit([Change(process_id=process.id, transition=start()(replace(record, version=version)))])
            for version in (0, 2, 9)
        ]

        assert outcomes == [[Conflict(record)]] * 3
        assert loaded_step(store, process) == record

    def test_a_commit_to_an_unknown_step_or_process_is_a_conflict_with_nothing(self, store: ProcessStore) -> None:
        process = created(store)
        stranger = new_process(store, "step", "other")
        no_process = change(stranger, start())
        stranger.id = process.id
        no_step = change(stranger, start(), "other")

        outcomes = store.commit([no_process, no_step])

        assert outcomes == [Conflict(None), Conflict(None)]
        assert list(store.load(process.id).steps) == ["step"]

    def test_a_conflict_in_the_middle_of_a_batch_leaves_the_others_alone(self, store: ProcessStore) -> None:
        process = created(store, "a", "b", "c")
        changes = [change(process, start(), name) for name in "abc"]
        other = apply(store, process, complete(), "b")

        outcomes = store.commit(changes)

        assert [type(outcome) for outcome in outcomes] == [Committed, Conflict, Committed]
        states = [step.state for step in store.load(process.id).steps.values()]
        assert states == [StepState.IN_PROGRESS, StepState.COMPLETED, StepState.IN_PROGRESS]
        assert loaded_step(store, process, "b") == other.step

    def test_of_two_changes_of_one_step_in_a_batch_the_first_wins(self, store: ProcessStore) -> None:
        process = created(store)

        won, lost = store.commit([change(process, start()), change(process, fail())])

        assert isinstance(won, Committed)
        assert lost == Conflict(won.step)

    def test_an_empty_batch_has_no_outcomes(self, store: ProcessStore) -> None:
        assert store.commit([]) == []
        assert store.load_steps([]) == []
        assert store.load_messages([]) == []

    def test_a_change_that_only_logs_leaves_the_record_as_it_was(self, store: ProcessStore) -> None:
        process = created(store, started_at_ms=500)
        apply(store, process, complete(at_ms=1_000))

        apply(store, process, lambda step: outcomes.fail(step, "late", run_id="other", now_ms=2_000))

        assert loaded_step(store, process).state is StepState.COMPLETED
        assert store.history(process.id)[-1].kind is EventKind.OUTCOME_LATE

    def test_records_come_in_the_order_of_their_keys(self, store: ProcessStore) -> None:
        process = created(store, "a", "b")

        records = store.load_steps(
            [StepKey(process.id, "b"), StepKey(UNKNOWN_ID, "a"), StepKey(process.id, "a"), StepKey(process.id, "c")]
        )

        assert records == [process.step("b"), None, process.step("a"), None]

    # Messages

    def test_a_message_is_kept_until_another_replaces_it(self, store: ProcessStore) -> None:
        process = created(store)

        apply(store, process, queue(at_ms=1), message=b"first \x00\xff")
        apply(store, process, start())
        assert message_of(store, process) == b"first \x00\xff"

        apply(store, process, start(attempt=2), message=b"second")
        assert message_of(store, process) == b"second"

    def test_a_message_is_dropped_when_its_step_is_completed_or_cancelled(self, store: ProcessStore) -> None:
        for finish in (complete(), cancel()):
            process = created(store)
            apply(store, process, queue(at_ms=1), message=b"message")

            apply(store, process, finish)

            assert message_of(store, process) is None

    def test_a_message_of_a_failed_step_is_kept_for_another_try(self, store: ProcessStore) -> None:
        process = created(store)
        apply(store, process, queue(at_ms=1), message=b"message")

        apply(store, process, fail())

        assert message_of(store, process) == b"message"

    def test_messages_come_in_the_order_of_their_keys(self, store: ProcessStore) -> None:
        process = created(store, "a", "b")
        for name in "ab":
            apply(store, process, queue(at_ms=1), name, message=name.encode())

        messages = store.load_messages([StepKey(process.id, "b"), StepKey(UNKNOWN_ID, "a"), StepKey(process.id, "a")])

        assert messages == [b"b", None, b"a"]

    # Races

    def test_of_threads_that_write_the_same_version_exactly_one_wins(self, store: ProcessStore) -> None:
        process = created(store)

        with ThreadPoolExecutor(THREADS) as threads:
            for attempt in range(1, 21):
                rivals = [change(process, start(attempt=attempt)) for _ in range(THREADS)]
                outcomes = [outcome for (outcome,) in threads.map(store.commit, [[rival] for rival in rivals])]
                won = [outcome for outcome in outcomes if isinstance(outcome, Committed)]
                assert len(won) == 1
                assert outcomes.count(Conflict(won[0].step)) == THREADS - 1
                process.steps["step"] = won[0].step

    def test_threads_that_finish_different_steps_lose_none_and_finish_the_process_once(
        self, store: ProcessStore
    ) -> None:
        names = [f"step-{number}" for number in range(40)]
        process = created(store, *names)

        with ThreadPoolExecutor(THREADS) as threads:
            outcomes = [
                outcome
                for (outcome,) in threads.map(store.commit, [[change(process, complete(), name)] for name in names])
            ]

        changes = [(each.state_before, each.state_after) for each in outcomes if isinstance(each, Committed)]
        assert len(changes) == len(names)
        finishing = [(before, after) for before, after in changes if after is ProcessState.COMPLETED is not before]
        assert len(finishing) == 1
        assert store.load(process.id).is_completed()

    def test_of_threads_that_start_one_business_key_exactly_one_wins(self, store: ProcessStore) -> None:
        rivals = [new_process(store, aggregate_id="one") for _ in range(THREADS)]

        with ThreadPoolExecutor(THREADS) as threads:
            live_ids = set(threads.map(store.create, rivals))

        assert len(live_ids) == 1
        assert [process.id for process in store.list_processes()] == list(live_ids)
