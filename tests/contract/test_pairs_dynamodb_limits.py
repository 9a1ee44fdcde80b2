"""What the repositories in DynamoDB do beside a store, beyond one transaction, and with what others left behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.process import OWN_RECORD, Process
from trellis_celery.domain.queries import ProcessFilter
from trellis_celery.domain.step import ProcessStep, StepState
from trellis_celery.domain.tracker import StepTracker
from trellis_celery.ports import LeaseKey
from trellis_celery.repositories import RepositoryStore
from trellis_celery.repositories.copies import with_records
from trellis_celery.stores.dynamodb import (
    DynamoDBProcessRepository,
    DynamoDBStepTrackerRepository,
    DynamoDBStore,
)
from trellis_celery.stores.dynamodb.calls import Calls
from trellis_celery.stores.dynamodb.repositories.groups import STEPS_PER_GROUP
from trellis_celery.stores.dynamodb.repositories.leftovers import Leftovers
from trellis_celery.testing import ManualClock
from trellis_celery.testing.contract.builders import MINUTE_MS, apply, created, new_process, start

TIMEOUT_MS = 60_000
DAY_MS = 86_400_000
#: Entries of a log that one transaction cannot remove.
LONG_LOG = 100
#: More than one transaction can replace.
MANY = 60 * STEPS_PER_GROUP


@dataclass
class Bench:
    clock: ManualClock
    client: Any
    table: str

    def __post_init__(self) -> None:
        options = {"table": self.table, "timeout_ms": TIMEOUT_MS, "clock": self.clock}
        self.processes = DynamoDBProcessRepository(self.client, **options)
        self.trackers = DynamoDBStepTrackerRepository(self.client, **options)
        self.store = DynamoDBStore(self.client, **options)

    @property
    def pair(self) -> RepositoryStore:
        return RepositoryStore(self.processes, self.trackers)

    def again(self) -> Bench:
        """As another program sees it, which remembers nothing."""
        return Bench(self.clock, self.client, self.table)

    def items(self) -> dict[tuple[str, str], dict[str, Any]]:
        pages = self.client.get_paginator("scan").paginate(TableName=self.table)
        return {(item["pk"]["S"], item["sk"]["S"]): item for page in pages for item in page["Items"]}

    def groups(self) -> list[str]:
        return [sk for _, sk in self.items() if sk.startswith("records#")]

    def put(self, item: dict[str, Any]) -> None:
        self.client.put_item(TableName=self.table, Item=item)

    def stored(self, *steps: str | ProcessStep, **fields: Any) -> Process:
        process = new_process(self.pair, *steps, **fields)
        self.processes.add(process)
        return process


@pytest.fixture
def bench(dynamodb_client: Any, dynamodb_table: str) -> Bench:
    return Bench(ManualClock(1_000_000), dynamodb_client, dynamodb_table)


def _changed(process: Process, *names: str, **fields: Any) -> Process:
    return with_records(process, [replace(process.steps[name], version=2, **fields) for name in names])


# One table


def test_a_store_and_a_pair_in_one_table_do_not_see_each_other(bench: Bench) -> None:
    both = (bench.store, bench.pair)
    timed = ProcessStep("step", timeout_ms=1, external=True)
    processes = [created(store, timed, "other", aggregate_id="one", deadline_ms=1) for store in both]
    for store, process in zip(both, processes, strict=True):
        apply(store, process, start(at_ms=1, is_leased=True), "other", lease_ms=1)

    for store, process in zip(both, processes, strict=True):
        assert store.find(process.key) == process.id
        assert [each.id for each in store.list_processes(ProcessFilter(aggregate_id="one"))] == [process.id]
        assert [each.id for each in store.list_processes()] == [process.id]
        due = store.due(now_ms=store.now_ms() + MINUTE_MS, limit=100)
        assert {item.key.process_id for item in due} == {process.id}
        assert len(due) == 3
    assert bench.store.delete(processes[0].id)
    assert bench.pair.load(processes[1].id).steps["other"].version == 2
    assert bench.pair.delete(processes[1].id)
    assert bench.items() == {}


# Beyond one transaction


def test_a_change_of_one_step_writes_one_group_of_a_large_process(bench: Bench) -> None:
    process = bench.stored(*(f"step-{number}" for number in range(MANY)))
    before = set(bench.groups())

    bench.again().processes.save(_changed(process, "step-200", state=StepState.COMPLETED))

    assert len(set(bench.groups()) - before) == 1
    assert len(before) == len(bench.groups())
    stored = bench.again().processes.get_by_id(process.id)
    assert stored is not None
    assert [step.state for step in stored.steps.values()].index(StepState.COMPLETED) == 200


def test_a_save_of_more_than_a_transaction_takes_replaces_all_or_nothing(bench: Bench) -> None:
    process = bench.stored(*(f"step-{number}" for number in range(MANY)))
    changed = _changed(process, *process.steps, state=StepState.COMPLETED)
    other = _changed(process, *process.steps, state=StepState.FAILED)

    bench.processes.save(changed)
    with pytest.raises(errors.StaleWrite):
        bench.again().processes.save(other)

    assert bench.processes.get_by_id(process.id) == bench.again().processes.get_by_id(process.id) == changed


def test_what_such_a_save_replaced_is_removed_by_a_check_when_nobody_needs_it_any_more(bench: Bench) -> None:
    process = bench.stored(*(f"step-{number}" for number in range(MANY)))
    needed = len(bench.groups())
    changed = _changed(process, *process.steps, state=StepState.COMPLETED)
    bench.processes.save(changed)
    assert len(bench.groups()) > needed

    bench.processes.all_timed_out(now_ms=bench.clock.now_ms(), limit=10)
    assert len(bench.groups()) > needed
    bench.clock.advance(DAY_MS)
    bench.processes.all_timed_out(now_ms=bench.clock.now_ms(), limit=10)

    assert len(bench.groups()) == needed
    assert bench.again().processes.get_by_id(process.id) == changed
    assert not [sk for _, sk in bench.items() if sk == "sweep"]


def test_what_a_write_on_its_way_has_stored_is_left_alone(bench: Bench) -> None:
    process = bench.stored("step")
    leftovers = Leftovers(Calls(bench.client, table=bench.table, timeout_ms=TIMEOUT_MS), bench.clock)
    leftovers.expect(process.id)
    written = (f"processes#{process.id}", "records#0001#other#00")
    bench.put({"pk": {"S": written[0]}, "sk": {"S": written[1]}})

    leftovers.clear(process.id)
    assert written in bench.items()
    bench.clock.advance(DAY_MS)
    leftovers.clear(process.id)

    assert written not in bench.items()
    assert bench.again().processes.get_by_id(process.id) == process


def test_a_process_with_a_long_log_is_removed_as_a_whole(bench: Bench) -> None:
    process = bench.stored("step")
    for number in range(LONG_LOG):
        process = with_records(process, ())
        bench.processes.save(process, [Event(EventKind.PROCESS_OVERDUE, OWN_RECORD, 0, number)])
    assert [event.occurred_at_ms for event in bench.processes.history(process.id)] == list(range(LONG_LOG))

    assert not bench.processes.delete(process.id, version=process.version - 1)
    assert bench.processes.delete(process.id, version=process.version)

    assert bench.items() == {}


# Business keys


def test_a_live_process_takes_its_business_key_as_soon_as_nobody_holds_it(bench: Bench) -> None:
    first = bench.stored("step", aggregate_id="one")
    second = replace(first, id=first.id[:2] + uuid4().hex)
    with pytest.raises(errors.ProcessExists) as exists:
        bench.processes.add(second)
    assert exists.value.process_id == first.id
    bench.processes.add(second, replaces=first.id)
    bench.processes.save(first := with_records(first, ()))
    holder = bench.processes.get_by_aggregate(first.key)
    assert holder is not None
    assert holder.id == second.id

    bench.processes.save(_changed(second, "step", state=StepState.COMPLETED))
    assert bench.processes.get_by_aggregate(first.key) is None
    bench.processes.save(with_records(first, ()))

    holder = bench.processes.get_by_aggregate(first.key)
    assert holder is not None
    assert holder.id == first.id


def test_a_process_that_is_finished_from_the_start_holds_no_business_key(bench: Bench) -> None:
    live = bench.stored("step", aggregate_id="one")
    finished = _changed(replace(live, id=live.id[:2] + uuid4().hex, version=-1), "step", state=StepState.COMPLETED)
    with pytest.raises(errors.ProcessExists):
        bench.processes.add(finished)
    bench.processes.delete(live.id, version=live.version)

    bench.processes.add(finished)

    assert bench.processes.get_by_aggregate(finished.key) is None
    assert bench.processes.count_finished(is_archived=False) == 1


def test_what_a_program_wrote_it_remembers_as_others_read_it(bench: Bench) -> None:
    process = bench.stored("step")

    bench.processes.save(_changed(process, "step", state=StepState.FAILED, last_error="x" * 3_000))

    assert bench.processes.get_by_id(process.id) == bench.again().processes.get_by_id(process.id)


# Trackers


def _tracker(process: Process, **fields: Any) -> StepTracker:
    return StepTracker(process.id, replace(process.steps["step"], version=1), **fields)


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_message_is_replaced_and_dropped_with_its_tracker(bench: Bench, size: int) -> None:
    process = new_process(bench.pair)
    tracker = _tracker(process, message=b"a" * size)
    bench.trackers.add(tracker)
    for message in (b"b" * (size + 1), b"c", b"c", b"d" * size, None):
        tracker = replace(tracker, step=replace(tracker.step, version=tracker.step.version + 1), message=message)
        bench.trackers.save(tracker)
        assert bench.trackers.get(process.id, "step") == tracker

    assert not [sk for _, sk in bench.items() if sk.startswith("message#")]


def test_a_message_that_is_replaced_while_it_is_read_is_read_again(bench: Bench) -> None:
    process = new_process(bench.pair)
    tracker = _tracker(process, message=b"a" * 1_000_000)
    bench.trackers.add(tracker)
    newer = replace(tracker, step=replace(tracker.step, version=2), message=b"b" * 1_000_000)
    batches: list[None] = []

    def save_before_the_second(**_: Any) -> None:
        batches.append(None)
        if len(batches) == 2:
            bench.again().trackers.save(newer)

    bench.client.meta.events.register("before-call.dynamodb.BatchGetItem", save_before_the_second)
    try:
        read = bench.trackers.get(process.id, "step")
    finally:
        bench.client.meta.events.unregister("before-call.dynamodb.BatchGetItem", save_before_the_second)

    assert read == newer
    assert len(batches) == 4


def test_a_message_that_is_too_long_is_refused_and_nothing_is_written(bench: Bench) -> None:
    process = new_process(bench.pair)

    with pytest.raises(errors.StoreError, match="4000000 bytes"):
        bench.trackers.add(_tracker(process, message=b"x" * 4_000_000))

    assert bench.items() == {}


def test_a_renewed_lease_outlives_writes_of_the_same_attempt_only(bench: Bench) -> None:
    process = new_process(bench.pair)
    tracker = _tracker(process, lease_until_ms=1)
    bench.trackers.add(tracker)
    bench.trackers.renew([LeaseKey(process.id, "step", tracker.step.attempt)], until_ms=5)

    bench.trackers.save(replace(tracker, step=replace(tracker.step, version=2), lease_until_ms=2))
    assert bench.trackers.all_lapsed(now_ms=4, limit=10) == []
    bench.trackers.save(replace(tracker, step=replace(tracker.step, version=3, attempt=7), lease_until_ms=3))

    assert [each.lease_until_ms for each in bench.trackers.all_lapsed(now_ms=4, limit=10)] == [3]


# Damage


def test_a_damaged_item_is_told_and_does_not_hide_the_others(bench: Bench) -> None:
    timed = ProcessStep("step", timeout_ms=1, external=True)
    damaged, sound = (created(bench.pair, timed, deadline_ms=1) for _ in range(2))
    for (pk, sk), item in bench.items().items():
        if damaged.id in pk and (sk == "process" or sk.startswith("step#")):
            bench.put({**item, "own" if sk == "process" else "record": {"S": "[]"}})
    later_ms = bench.clock.now_ms() + MINUTE_MS

    assert [each.id for each in bench.processes.all_timed_out(now_ms=later_ms, limit=10)] == [sound.id]
    assert [each.process_id for each in bench.trackers.all_timed_out(now_ms=later_ms, limit=10)] == [sound.id]
    with pytest.raises(errors.CorruptRecord):
        bench.processes.get_by_id(damaged.id)
    with pytest.raises(errors.CorruptRecord):
        bench.trackers.get(damaged.id, "step")


def test_a_lost_group_is_told(bench: Bench) -> None:
    process = bench.stored("step")
    for key, item in bench.items().items():
        if key[1].startswith("records#0001"):
            bench.client.delete_item(TableName=bench.table, Key={"pk": item["pk"], "sk": item["sk"]})

    with pytest.raises(errors.CorruptRecord, match="missing"):
        bench.again().processes.get_by_id(process.id)


def test_an_entry_that_is_nobodys_leaves_the_indexes_of_clocks(bench: Bench) -> None:
    for number, partition in enumerate(("processes#0", "trackers#0", "copies#0")):
        key = {"pk": {"S": f"foreign-{number}"}, "sk": {"S": "x"}}
        bench.put({**key, "due": {"S": partition}, "due_ms": {"N": "1"}})

    bench.processes.all_timed_out(now_ms=2, limit=10)
    bench.trackers.all_timed_out(now_ms=2, limit=10)
    assert bench.trackers.all_uncopied(now_ms=2, limit=10) == []

    assert not [item for item in bench.items().values() if "due" in item or "due_ms" in item]
