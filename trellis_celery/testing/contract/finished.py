"""What a store promises about finished processes: each waits for being archived, and goes when it is told to."""

from __future__ import annotations

from trellis_celery.domain import outcomes
from trellis_celery.domain.process import Process
from trellis_celery.domain.queries import Finished
from trellis_celery.ports import ProcessStore
from trellis_celery.testing.contract.builders import (
    MINUTE_MS,
    apply,
    cancel,
    complete,
    complete_after_all,
    created,
    fail,
    loaded_step,
    reopen,
    start,
)


def _waiting(store: ProcessStore, **fields: int) -> list[Finished]:
    return store.finished(is_archived=False, limit=fields.pop("limit", 1_000), **fields)  # type: ignore[arg-type]


def _archived(store: ProcessStore) -> list[Finished]:
    return store.finished(is_archived=True, limit=1_000)


def _archive(store: ProcessStore) -> Finished:
    """Archive the one process that waits."""
    (finished,) = _waiting(store)
    store.mark_archived([finished])
    return finished


def _late(store: ProcessStore, process: Process) -> None:
    """Something comes too late, and is logged."""
    apply(store, process, lambda step: outcomes.fail(step, "late", run_id="other", now_ms=1))


class FinishedPromises:
    def test_a_process_waits_for_being_archived_from_its_end_on(self, store: ProcessStore) -> None:
        for finish in (complete(), fail(), cancel()):
            process = created(store)
            apply(store, process, start())
            assert process.id not in [each.process_id for each in _waiting(store)]

            before_ms = store.now_ms()
            apply(store, process, finish)

            (since_ms,) = [each.since_ms for each in _waiting(store) if each.process_id == process.id]
            assert before_ms - MINUTE_MS < since_ms < store.now_ms() + MINUTE_MS
        assert store.count_finished(is_archived=False) == len(_waiting(store)) == 3
        assert store.count_finished(is_archived=True) == len(_archived(store)) == 0

    def test_an_archived_process_waits_no_longer(self, store: ProcessStore) -> None:
        apply(store, created(store), complete())

        finished = _archive(store)

        assert _waiting(store) == []
        assert _archived(store) == [finished]
        assert (store.count_finished(is_archived=False), store.count_finished(is_archived=True)) == (0, 1)

    def test_a_finished_process_that_is_changed_waits_again(self, store: ProcessStore) -> None:
        process = created(store)
        apply(store, process, complete())
        first = _archive(store)

        _late(store, process)

        (second,) = _waiting(store)
        assert second.process_id == process.id
        assert second.since_ms > first.since_ms
        assert _archived(store) == []

    def test_a_process_that_was_changed_since_it_was_read_goes_on_waiting(self, store: ProcessStore) -> None:
        process = created(store)
        apply(store, process, complete())
        read = _waiting(store)
        _late(store, process)

        store.mark_archived(read)

        assert [each.process_id for each in _waiting(store)] == [process.id]
        assert _archived(store) == []

    def test_a_reopened_process_is_not_finished(self, store: ProcessStore) -> None:
        process = created(store)
        apply(store, process, fail())
        first = _archive(store)

        apply(store, process, reopen())
        assert _waiting(store) == _archived(store) == []
        store.mark_archived([first])
        assert _waiting(store) == _archived(store) == []

        apply(store, process, complete())
        (second,) = _waiting(store)
        assert second.since_ms > first.since_ms

    def test_a_process_that_goes_on_after_one_write_is_not_finished(self, store: ProcessStore) -> None:
        process = created(store, "step", "other")
        apply(store, process, fail())
        first = _archive(store)

        apply(store, process, complete_after_all())
        assert _waiting(store) == _archived(store) == []
        assert store.find(process.key) == process.id
        assert not store.delete(process.id, finished_since_ms=first.since_ms)

        apply(store, process, complete(), "other")
        (second,) = _waiting(store)
        assert second.since_ms > first.since_ms

    def test_finished_processes_come_page_by_page_longest_ago_first(self, store: ProcessStore) -> None:
        for _ in range(7):
            apply(store, created(store), complete())
        everything = _waiting(store)
        assert everything == sorted(everything)

        pages = [_waiting(store, limit=3)]
        while pages[-1]:
            pages.append(store.finished(is_archived=False, limit=3, after=pages[-1][-1]))

        assert [each for page in pages for each in page] == everything
        assert [len(page) for page in pages] == [3, 3, 1, 0]

    def test_what_was_changed_later_is_left_out(self, store: ProcessStore) -> None:
        apply(store, created(store), complete())
        (finished,) = _waiting(store)

        assert _waiting(store, until_ms=finished.since_ms) == [finished]
        assert _waiting(store, until_ms=finished.since_ms - 1) == []

    def test_a_process_is_deleted_only_if_it_is_finished_since_then(self, store: ProcessStore) -> None:
        process = created(store)
        assert not store.delete(process.id, finished_since_ms=1)
        apply(store, process, fail())
        first = _archive(store)
        _late(store, process)
        assert not store.delete(process.id, finished_since_ms=first.since_ms)
        (second,) = _waiting(store)
        apply(store, process, reopen())
        assert not store.delete(process.id, finished_since_ms=second.since_ms)
        assert loaded_step(store, process) == process.step("step")

        apply(store, process, complete())
        (third,) = _waiting(store)

        assert store.delete(process.id, finished_since_ms=third.since_ms)
        assert store.load_steps([]) == []
        assert _waiting(store) == _archived(store) == []
        assert store.count_finished(is_archived=False) == 0
        assert not store.delete(process.id, finished_since_ms=third.since_ms)

    def test_an_archived_process_is_deleted_too(self, store: ProcessStore) -> None:
        process = created(store)
        apply(store, process, complete())
        finished = _archive(store)

        assert store.delete(process.id, finished_since_ms=finished.since_ms)
        assert _archived(store) == []
        assert store.list_processes() == []

    def test_marking_what_is_gone_does_nothing(self, store: ProcessStore) -> None:
        process = created(store)
        apply(store, process, complete())
        (finished,) = _waiting(store)
        store.delete(process.id)

        store.mark_archived([finished])

        assert _waiting(store) == _archived(store) == []
