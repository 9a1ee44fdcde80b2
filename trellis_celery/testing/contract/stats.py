"""What there is, in numbers."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from trellis_celery.domain.events import EventKind
from trellis_celery.domain.process import ProcessState
from trellis_celery.domain.queries import EventGroup, ProcessGroup
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import ProcessStore, UntrackedCounter
from trellis_celery.testing.contract.builders import apply, change, complete, created, queue, start
from trellis_celery.testing.contract.incidents import give_up


class StatsPromises:
    """Of every store. Override `tells_types` where processes of all types are counted together, under an empty one."""

    tells_types = True

    def test_nothing_is_counted_as_nothing(self, store: ProcessStore) -> None:
        stats = store.stats()

        assert (stats.processes, stats.due, stats.events, stats.lateness.count) == ({}, 0, {}, 0)
        assert not stats.untracked

    def test_processes_are_counted_by_type_and_state(self, store: ProcessStore) -> None:
        for process_type in ("A", "A", "B"):
            created(store, process_type=process_type)
        apply(store, created(store, process_type="B"), start())

        counts = store.stats().processes

        if self.tells_types:
            assert counts == {
                ProcessGroup("A", ProcessState.PENDING, False, False): 2,
                ProcessGroup("B", ProcessState.PENDING, False, False): 1,
                ProcessGroup("B", ProcessState.IN_PROGRESS, False, False): 1,
            }
        else:
            assert counts == {
                ProcessGroup("", ProcessState.PENDING, False, False): 3,
                ProcessGroup("", ProcessState.IN_PROGRESS, False, False): 1,
            }

    def test_incidents_are_counted(self, store: ProcessStore) -> None:
        process = created(store, process_type="A")
        apply(store, process, start())
        apply(store, process, give_up)

        group = ProcessGroup("A" if self.tells_types else "", ProcessState.FAILED, False, True)
        assert store.stats().processes == {group: 1}

    def test_clocks_that_have_run_out_are_counted(self, store: ProcessStore) -> None:
        process = created(store, ProcessStep("late", queue_timeout_ms=1), ProcessStep("early"))
        now_ms = store.now_ms()

        apply(store, process, queue(at_ms=now_ms - 10), "late")
        apply(store, process, queue(at_ms=now_ms), "early")

        assert store.stats().due == 1


class TotalPromises:
    """Of stores that count what they write."""

    def test_events_are_counted_by_type_step_and_kind(self, store: ProcessStore) -> None:
        for _ in range(2):
            process = created(store, "a", "b", process_type="A")
            apply(store, process, start(), "a")
        apply(store, process, complete(), "a")
        apply(store, process, complete(), "b")

        assert store.stats().events == {
            EventGroup("A", "", EventKind.PROCESS_STARTED): 2,
            EventGroup("A", "a", EventKind.STEP_STARTED): 2,
            EventGroup("A", "a", EventKind.STEP_COMPLETED): 1,
            EventGroup("A", "b", EventKind.STEP_COMPLETED): 1,
            EventGroup("A", "", EventKind.PROCESS_COMPLETED): 1,
        }

    def test_a_change_that_is_sent_twice_is_counted_once(self, store: ProcessStore) -> None:
        process = created(store, process_type="A")
        twice = change(process, start())

        for _ in range(2):
            store.commit([twice])
        store.create(process)

        assert store.stats().events == {
            EventGroup("A", "", EventKind.PROCESS_STARTED): 1,
            EventGroup("A", "step", EventKind.STEP_STARTED): 1,
        }

    def test_totals_stay_when_their_processes_are_removed(self, store: ProcessStore) -> None:
        process = created(store, process_type="A")
        before = store.stats().events

        store.delete(process.id)

        assert store.stats().events == before != {}

    @pytest.mark.parametrize(("lateness_ms", "bound_ms"), [(-5, 100), (100, 100), (101, 250), (999_999, None)])
    def test_lateness_falls_into_a_bucket(self, store: ProcessStore, lateness_ms: int, bound_ms: int | None) -> None:
        process = created(store)
        store.commit([replace(change(process, start()), lateness_ms=lateness_ms)])

        lateness = store.stats().lateness

        assert (lateness.count, lateness.sum_ms) == (1, max(lateness_ms, 0))
        assert {bound for bound, count in lateness.buckets.items() if count} == {bound_ms} - {None}

    def test_what_went_on_untracked_adds_up(self, store: ProcessStore) -> None:
        assert isinstance(store, UntrackedCounter)
        assert store.stats().untracked == {}
        created(store, process_type="A")

        store.add_untracked({"publish": 2, "prerun": 1})
        store.add_untracked({"publish": 1})

        stats = store.stats()
        assert stats.untracked == {"publish": 3, "prerun": 1}
        assert stats.events == {EventGroup("A", "", EventKind.PROCESS_STARTED): 1}

    def test_names_of_all_kinds_are_kept_apart(self, store: ProcessStore) -> None:
        created(store, process_type="A|step_started")
        apply(store, created(store, "x|y", process_type="é"), start(), "x|y")

        assert store.stats().events == {
            EventGroup("A|step_started", "", EventKind.PROCESS_STARTED): 1,
            EventGroup("é", "", EventKind.PROCESS_STARTED): 1,
            EventGroup("é", "x|y", EventKind.STEP_STARTED): 1,
        }
