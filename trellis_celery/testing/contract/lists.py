"""What a store promises about lists of processes."""

from __future__ import annotations

from itertools import product

import pytest

from trellis_celery.domain.process import OWN_RECORD, ProcessState, mark_overdue
from trellis_celery.domain.queries import Position, ProcessFilter, ProcessSummary
from trellis_celery.domain.step import StepState
from trellis_celery.ports import ProcessStore
from trellis_celery.testing.contract.builders import MINUTE_MS, apply, complete, created, fail, reopen, start
from trellis_celery.testing.contract.identifiers import HOSTILE


def _listed(store: ProcessStore, limit: int = 1_000, after: Position | None = None, **only: object) -> list[str]:
    return [each.id for each in store.list_processes(ProcessFilter(**only), limit=limit, after=after)]  # type: ignore[arg-type]


def _pages(store: ProcessStore, only: ProcessFilter, limit: int) -> list[list[ProcessSummary]]:
    """Every page, up to the first that is empty."""
    pages = [store.list_processes(only, limit=limit)]
    while pages[-1]:
        pages.append(store.list_processes(only, limit=limit, after=pages[-1][-1].position))
    return pages[:-1]


class ListPromises:
    # What is listed

    def test_processes_are_listed_newest_first(self, store: ProcessStore) -> None:
        ids = [created(store, started_at_ms=started_at_ms).id for started_at_ms in (2_000, 3_000, 1_000)]

        assert _listed(store) == [ids[1], ids[0], ids[2]]
        assert _listed(store, limit=2) == [ids[1], ids[0]]

    def test_a_list_tells_what_there_is_to_know_without_the_steps(self, store: ProcessStore) -> None:
        process = created(store, "a", "b", "c", deadline_ms=MINUTE_MS)
        apply(store, process, start(), "a")
        apply(store, process, complete(), "b")

        (listed,) = store.list_processes()

        assert listed == ProcessSummary(
            id=process.id,
            key=process.key,
            state=ProcessState.IN_PROGRESS,
            is_overdue=False,
            has_incident=False,
            started_at_ms=process.started_at_ms,
            step_counts={StepState.PENDING: 1, StepState.IN_PROGRESS: 1, StepState.COMPLETED: 1},
        )
        assert (listed.steps_finished, listed.steps_total) == (1, 3)

    def test_processes_are_listed_by_the_state_they_are_in_now(self, store: ProcessStore) -> None:
        process = created(store)
        other = created(store)

        apply(store, process, fail())

        assert _listed(store, state=ProcessState.FAILED) == [process.id]
        assert _listed(store, state=ProcessState.PENDING) == [other.id]
        assert _listed(store, state=ProcessState.COMPLETED) == []

        apply(store, process, reopen())
        apply(store, process, start())

        assert _listed(store, state=ProcessState.FAILED) == []
        assert _listed(store, state=ProcessState.IN_PROGRESS) == [process.id]

    def test_processes_are_listed_by_type_tenant_and_both(self, store: ProcessStore) -> None:
        ids = {
            (process_type, tenant_id): created(store, process_type=process_type, tenant_id=tenant_id).id
            for process_type, tenant_id in product(("Order", "Claim"), ("one", "two"))
        }

        assert set(_listed(store, process_type="Order")) == {ids["Order", "one"], ids["Order", "two"]}
        assert set(_listed(store, tenant_id="two")) == {ids["Order", "two"], ids["Claim", "two"]}
        assert _listed(store, process_type="Claim", tenant_id="one") == [ids["Claim", "one"]]
        assert _listed(store, process_type="Claim", tenant_id="three") == []
        assert _listed(store, process_type="one") == []

    def test_every_filter_narrows_every_other(self, store: ProcessStore) -> None:
        processes = [
            created(store, process_type=process_type, tenant_id=tenant_id, started_at_ms=number)
            for number, (process_type, tenant_id) in enumerate(product(("Order", "Claim"), ("one", "two"), repeat=1))
        ]
        for process in processes[::2]:
            apply(store, process, complete())

        everything = store.list_processes()
        for state, process_type, tenant_id in product(
            (None, ProcessState.PENDING, ProcessState.COMPLETED), (None, "Order", "Claim"), (None, "one", "two")
        ):
            only = ProcessFilter(state=state, process_type=process_type, tenant_id=tenant_id)
            assert store.list_processes(only) == [each for each in everything if only.matches(each)]

    def test_overdue_processes_are_listed_until_they_are_finished(self, store: ProcessStore) -> None:
        late, other = created(store, deadline_ms=MINUTE_MS), created(store, deadline_ms=MINUTE_MS)
        apply(store, late, lambda own: mark_overdue(own, now_ms=late.started_at_ms + MINUTE_MS), OWN_RECORD)

        assert _listed(store, is_overdue=True) == [late.id]
        (summary,) = store.list_processes(ProcessFilter(is_overdue=True))
        assert summary.is_overdue
        assert set(_listed(store, state=ProcessState.PENDING)) == {late.id, other.id}

        apply(store, late, start())
        assert _listed(store, is_overdue=True, state=ProcessState.IN_PROGRESS) == [late.id]
        assert _listed(store, is_overdue=True, state=ProcessState.PENDING) == []

        apply(store, late, complete())
        assert _listed(store, is_overdue=True) == []
        assert _listed(store, state=ProcessState.COMPLETED) == [late.id]

    def test_processes_are_found_by_their_aggregate_live_or_finished(self, store: ProcessStore) -> None:
        first = created(store, aggregate_id="4711", aggregate_type="Order", tenant_id="one", started_at_ms=1_000)
        apply(store, first, complete())
        second = created(store, aggregate_id="4711", aggregate_type="Order", tenant_id="one", started_at_ms=2_000)
        other_type = created(store, aggregate_id="4711", aggregate_type="Claim", tenant_id="one", started_at_ms=3_000)
        other_tenant = created(store, aggregate_id="4711", aggregate_type="Order", tenant_id="two", started_at_ms=4_000)
        created(store, aggregate_id="4712", aggregate_type="Order", tenant_id="one")

        assert _listed(store, aggregate_id="4711") == [other_tenant.id, other_type.id, second.id, first.id]
        assert _listed(store, aggregate_id="4711", limit=2) == [other_tenant.id, other_type.id]
        assert _listed(store, aggregate_id="4711", aggregate_type="Order", tenant_id="one") == [second.id, first.id]
        assert _listed(store, aggregate_id="4711", state=ProcessState.COMPLETED) == [first.id]
        assert _listed(store, aggregate_id="4711", process_type="Other") == []

    def test_processes_are_listed_by_when_they_were_started(self, store: ProcessStore) -> None:
        ids = [created(store, started_at_ms=started_at_ms).id for started_at_ms in (1_000, 2_000, 3_000, 4_000)]

        assert _listed(store, started_from_ms=2_000) == [ids[3], ids[2], ids[1]]
        assert _listed(store, started_before_ms=3_000) == [ids[1], ids[0]]
        assert _listed(store, started_from_ms=2_000, started_before_ms=4_000) == [ids[2], ids[1]]
        assert _listed(store, started_from_ms=5_000) == []

    def test_names_that_mean_something_to_a_database_are_only_names(self, store: ProcessStore) -> None:
        ids = {
            name: created(store, process_type=name, tenant_id=name, aggregate_type=name, aggregate_id=name).id
            for name in HOSTILE
        }

        for name, process_id in ids.items():
            assert _listed(store, process_type=name) == [process_id]
            assert _listed(store, tenant_id=name) == [process_id]
            assert _listed(store, process_type=name, tenant_id=name) == [process_id]
            assert _listed(store, aggregate_id=name, aggregate_type=name) == [process_id]

    # Pages

    @pytest.mark.parametrize("limit", [1, 3, 7, 100])
    def test_the_pages_of_a_list_make_up_the_list(self, store: ProcessStore, limit: int) -> None:
        for number in range(20):  # many of them started at the same time
            process = created(store, process_type=f"Type {number % 3}", started_at_ms=1_000 + number // 5)
            if number % 2:
                apply(store, process, complete())
        all_of_it = store.list_processes(limit=1_000)
        assert [each.position for each in all_of_it] == sorted((each.position for each in all_of_it), reverse=True)

        for only in (
            ProcessFilter(),
            ProcessFilter(process_type="Type 1"),
            ProcessFilter(tenant_id="tenant", state=ProcessState.COMPLETED),
            ProcessFilter(started_from_ms=1_001, started_before_ms=1_003),
        ):
            pages = _pages(store, only, limit)
            assert [each for page in pages for each in page] == [each for each in all_of_it if only.matches(each)]
            assert all(len(page) == limit for page in pages[:-1])

    def test_a_page_is_not_moved_by_what_is_started_or_removed_meanwhile(self, store: ProcessStore) -> None:
        processes = [created(store, started_at_ms=started_at_ms) for started_at_ms in range(1_000, 1_006)]
        first = store.list_processes(limit=3)

        created(store, started_at_ms=9_000)
        store.delete(first[-1].id)

        assert _listed(store, limit=3, after=first[-1].position) == [processes[index].id for index in (2, 1, 0)]
