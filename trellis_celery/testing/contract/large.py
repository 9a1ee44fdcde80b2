"""What a store promises when there is much of something: steps, bytes, processes, late steps.

A slow store may lower the numbers in its test class.
"""

from __future__ import annotations

from collections import Counter

from trellis_celery import errors
from trellis_celery.domain import outcomes
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.process import MAX_STEPS, Process, ProcessState
from trellis_celery.domain.queries import Finished, Position, ProcessFilter
from trellis_celery.domain.step import ProcessStep, StepState
from trellis_celery.ports import Committed, ProcessStore, StepKey
from trellis_celery.testing.contract.audit import snapshot
from trellis_celery.testing.contract.builders import (
    Rule,
    apply,
    change,
    complete,
    created,
    deadlines,
    loaded_step,
    message_of,
    new_process,
    queue,
    start,
)

_MEGABYTE = 1_000_000


class LargePromises:
    #: Steps of the largest process.
    many_steps = MAX_STEPS
    #: Changes of it that are written at once.
    many_changes = 300
    many_processes = 2_000
    #: Entries that are read at a time.
    page_size = 300
    #: Steps that are late since the same millisecond.
    many_late_steps = 1_000
    #: The largest message that the store keeps. Say less where the database cannot hold a megabyte in one place.
    largest_message_bytes = _MEGABYTE
    metadata_bytes = 100_000

    # Large processes

    def test_a_process_may_have_ten_thousand_steps(self, store: ProcessStore) -> None:
        steps = [
            ProcessStep(f"step-{number}", timeout_ms=1_000, external=number % 100 == 0)
            for number in range(self.many_steps)
        ]
        process = new_process(store, *steps, started_at_ms=1_000)

        assert store.create(process) == store.create(process) == process.id

        assert list(store.load(process.id).steps.values()) == list(process.steps.values())
        late = [step.name for step in steps if step.external]
        assert sorted(item.key.step_name for item in deadlines(store, now_ms=2_000)) == sorted(late)

        names = list(process.steps)[: self.many_changes]
        changes = [change(process, complete(at_ms=at_ms), name) for at_ms, name in enumerate(names, 2_000)]
        assert [type(outcome) for outcome in store.commit(changes)] == [Committed] * len(names)

        (listed,) = store.list_processes(ProcessFilter(state=ProcessState.IN_PROGRESS))
        assert listed.step_counts == {
            StepState.PENDING: self.many_steps - len(names),
            StepState.COMPLETED: len(names),
        }
        states = [step.state for step in store.load(process.id).steps.values()]
        assert states[: len(names)] == [StepState.COMPLETED] * len(names)
        assert StepState.COMPLETED not in states[len(names) :]
        assert [event.step_name for event in store.history(process.id)] == ["", *names]

        assert store.delete(process.id)

        assert store.load_steps([StepKey(process.id, name) for name in names]) == [None] * len(names)
        assert deadlines(store, now_ms=2_000) == []
        assert store.list_processes() == []
        assert store.history(process.id) == []

    def test_a_process_keeps_large_metadata(self, store: ProcessStore) -> None:
        text = "é😀 \\\" '" + "x" * 92
        entries = {f"field-{number}": [text, number, None] for number in range(self.metadata_bytes // 110)}

        process = created(store, metadata=entries)
        apply(store, process, start())

        assert store.load(process.id).metadata == entries

    # Long texts

    def test_a_long_error_is_kept(self, store: ProcessStore) -> None:
        process = created(store)
        text = ("é😀 '\"\\\n{}%s\t" * 200)[:2_000]

        apply(store, process, lambda step: outcomes.fail(step, text, now_ms=process.started_at_ms + 1))

        assert loaded_step(store, process).last_error == text
        assert text in [event.detail for event in store.history(process.id)]

    def test_an_error_of_broken_unicode_is_kept_as_far_as_it_can_be_written(self, store: ProcessStore) -> None:
        process = created(store)

        apply(store, process, lambda step: outcomes.fail(step, "no \ud800\0 file", now_ms=process.started_at_ms + 1))

        assert loaded_step(store, process).last_error == "no ?\ufffd file"
        assert "no ?\ufffd file" in [event.detail for event in store.history(process.id)]

    def test_a_log_of_many_long_entries_is_kept_in_order(self, store: ProcessStore) -> None:
        process = created(store, started_at_ms=1)
        apply(store, process, complete())
        for number in range(1, 101):
            apply(store, process, _late(f"run {number} " + "x" * 1_900, at_ms=number))

        log = store.history(process.id)

        assert [event.occurred_at_ms for event in log if event.kind is EventKind.OUTCOME_LATE] == list(range(1, 101))

    # Large messages

    def test_a_large_message_comes_back_as_it_was(self, store: ProcessStore) -> None:
        process = created(store)
        message = (bytes(range(256)) * (self.largest_message_bytes // 256 + 1))[: self.largest_message_bytes]

        apply(store, process, queue(at_ms=1), message=message)

        assert message_of(store, process) == message

    def test_a_message_that_is_too_large_is_refused_and_nothing_is_written(self, store: ProcessStore) -> None:
        """A store that keeps a megabyte need not refuse anything."""
        process = created(store, "a", "b", "c")
        apply(store, process, queue(at_ms=1), "b", message=b"old")
        before = snapshot(store, [process])
        is_limited = self.largest_message_bytes < _MEGABYTE
        message = bytes(self.largest_message_bytes + is_limited)

        (outcome,) = store.commit([change(process, start(), "b", message=message)])

        if is_limited:
            assert isinstance(outcome, errors.StoreError)
            assert snapshot(store, [process]) == before
            messages = {"a": b"a", "b": message, "c": b"c"}
            of_batch = store.commit(
                [change(process, start(), name, message=message) for name, message in messages.items()]
            )
            assert [isinstance(each, Committed) for each in of_batch] == [True, False, True]
            assert message_of(store, process, "b") == b"old"
        else:
            assert isinstance(outcome, Committed)
            assert message_of(store, process, "b") == message

    # Many processes

    def test_thousands_of_finished_processes_are_read_page_by_page_while_they_change(self, store: ProcessStore) -> None:
        processes = _finished(store, self.many_processes)
        everything = store.finished(is_archived=False, limit=2 * self.many_processes)
        assert everything == sorted(everything)
        assert store.count_finished(is_archived=False) == len(everything) == self.many_processes

        read = store.finished(is_archived=False, limit=self.page_size)
        assert read == everything[: self.page_size]
        changed, deleted, archived = read[0], everything[-1], everything[-2]
        apply(store, processes[changed.process_id], _late("changed", at_ms=1))
        store.delete(deleted.process_id)
        store.mark_archived([archived])
        while page := store.finished(is_archived=False, limit=self.page_size, after=read[-1]):
            assert len(page) <= self.page_size
            read += page

        *in_order, last = read
        assert in_order == everything[:-2]
        assert last.process_id == changed.process_id
        assert last > everything[-1]
        self._drain(store, read[1:])

    def _drain(self, store: ProcessStore, waiting: list[Finished]) -> None:
        """As one does who archives: from the start each time, as what was archived waits no longer."""
        drained: list[Finished] = []
        while page := store.finished(is_archived=False, limit=self.page_size):
            store.mark_archived(page)
            drained += page
            assert len(drained) <= len(waiting), "what was archived is read again"
        assert drained == waiting
        assert store.count_finished(is_archived=False) == 0
        assert store.count_finished(is_archived=True) == len(waiting) + 1

    def test_thousands_of_processes_are_listed_page_by_page_while_they_change(self, store: ProcessStore) -> None:
        processes = {
            process.id: process
            for number in range(self.many_processes // 2)
            for process in [created(store, started_at_ms=1_000 + number // 7)]
        }
        pending = ProcessFilter(state=ProcessState.PENDING)
        everything = [each.id for each in store.list_processes(pending, limit=self.many_processes)]
        assert len(everything) == len(processes)

        read: list[str] = []
        after: Position | None = None
        while page := store.list_processes(pending, limit=self.page_size, after=after):
            assert len(page) <= self.page_size
            read += [each.id for each in page]
            after = page[-1].position
            apply(store, processes[page[0].id], complete())  # was read
            created(store, started_at_ms=9_000)  # is before all that was read
            if len(read) == self.page_size:
                apply(store, processes[everything[-1]], complete())
                store.delete(everything[-2])

        assert read == everything[:-2]

    # Many late steps

    def test_steps_that_are_late_since_the_same_moment_are_drained_batch_by_batch(self, store: ProcessStore) -> None:
        per_process = self.many_late_steps // 10
        steps = [ProcessStep(f"step-{number}", timeout_ms=1_000, external=True) for number in range(per_process)]
        processes = [created(store, *steps, started_at_ms=1_000) for _ in range(10)]
        expected = Counter(StepKey(process.id, step.name) for process in processes for step in steps)
        assert Counter(item.key for item in deadlines(store, now_ms=2_000)) == expected

        drained: Counter[StepKey] = Counter()
        while batch := store.due(now_ms=2_000, limit=self.page_size):
            assert len(batch) <= self.page_size
            assert {item.since_ms for item in batch} == {2_000}
            if not drained:
                process, name = _one_left(processes, batch_keys={item.key for item in batch})
                apply(store, process, complete(), name)
                del expected[StepKey(process.id, name)]
            store.discard(batch, until_ms=None)
            drained.update(item.key for item in batch)
            assert drained.total() <= self.many_late_steps, "what was discarded is due again"

        assert drained == expected


def _late(text: str, *, at_ms: int) -> Rule:
    return lambda step: outcomes.fail(step, text, run_id="another", now_ms=at_ms)


def _finished(store: ProcessStore, count: int) -> dict[str, Process]:
    processes = {process.id: process for process in (created(store) for _ in range(count))}
    for outcome, process in zip(
        store.commit([change(process, complete()) for process in processes.values()]), processes.values(), strict=True
    ):
        assert isinstance(outcome, Committed), outcome
        process.steps["step"] = outcome.step
    return processes


def _one_left(processes: list[Process], *, batch_keys: set[StepKey]) -> tuple[Process, str]:
    """A step that is not in the batch."""
    return next(
        (process, name)
        for process in processes
        for name in process.steps
        if StepKey(process.id, name) not in batch_keys
    )
