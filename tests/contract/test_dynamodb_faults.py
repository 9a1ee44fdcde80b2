"""What the DynamoDB store does at its limits, and when DynamoDB, the network or the data are not as they should be."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from threading import Barrier
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from msgspec.structs import replace

from tests.support.programs import free_port
from tests.support.proxy import Loss, Proxy
from trellis_celery import errors
from trellis_celery.domain import outcomes
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.step import ProcessStep, StepState
from trellis_celery.ports import Change, Committed, Conflict, Due, LastCheck, LeaseKey, ProcessStore, StepKey
from trellis_celery.stores.dynamodb import DynamoDBStore, keys
from trellis_celery.stores.dynamodb.connect import connect
from trellis_celery.stores.dynamodb.tables import INDEXES, create_tables
from trellis_celery.testing import ManualClock
from trellis_celery.testing.contract import builders

TIMEOUT_MS = 4_000
#: What a busy machine may add to a time limit.
SLACK_MS = 2_500
TIMED = ProcessStep("step", timeout_ms=1_000, retries_permitted=2)


@dataclass
class Bench:
    """A store, and its client to look at the table and to disturb what the store does."""

    store: DynamoDBStore
    client: Any
    table: str
    endpoint: str

    def store_process(self, *steps: str | ProcessStep, **fields: Any) -> Process:
        return builders.created(self.store, *steps, **fields)

    def items(self) -> dict[tuple[str, str], dict[str, Any]]:
        pages = self.client.get_paginator("scan").paginate(TableName=self.table)
        return {(item["pk"]["S"], item["sk"]["S"]): item for page in pages for item in page["Items"]}

    def put(self, key: keys.Key, **attributes: Any) -> None:
        """Put these attributes in the place of the item's own."""
        item = self.items().get((key.pk, key.sk), key.packed)
        self.client.put_item(TableName=self.table, Item={**item, **attributes})

    def sent(self, act: Callable[[], object]) -> list[str]:
        """The operations that the store calls during `act`."""
        operations: list[str] = []

        def note(model: Any, **_: Any) -> None:
            operations.append(model.name)

        self.client.meta.events.register("before-call.dynamodb", note)
        try:
            act()
        finally:
            self.client.meta.events.unregister("before-call.dynamodb", note)
        return operations

    @contextmanager
    def just_before(self, operation: str, act: Callable[[], object]) -> Iterator[list[object]]:
        """Do something before the next call of an operation is sent."""
        done: list[object] = []

        def once(**_: Any) -> None:
            if not done:
                done.append(None)
                act()

        event = f"before-call.dynamodb.{operation}"
        self.client.meta.events.register(event, once)
        try:
            yield done
        finally:
            self.client.meta.events.unregister(event, once)

    @contextmanager
    def failing(self, operation: str, *answers: dict[str, Any] | None) -> Iterator[list[str]]:
        """DynamoDB answers the next calls of an operation like this; None: as it does. The rest go through."""
        left = list(answers)
        given: list[str] = []

        def answer(**_: Any) -> tuple[Any, dict[str, Any]] | None:
            if not left or (reply := left.pop(0)) is None:
                return None
            given.append(operation)
            return _Status(reply["ResponseMetadata"]["HTTPStatusCode"]), reply

        event = f"before-call.dynamodb.{operation}"
        self.client.meta.events.register(event, answer)
        try:
            yield given
        finally:
            self.client.meta.events.unregister(event, answer)


@dataclass
class _Status:
    status_code: int


def _error(code: str, status: int = 400, **more: Any) -> dict[str, Any]:
    return {"Error": {"Code": code, "Message": "says the test"}, "ResponseMetadata": {"HTTPStatusCode": status}, **more}


THROTTLED = _error("ThrottlingException")
CONFLICT = _error(
    "TransactionCanceledException", CancellationReasons=[{"Code": "TransactionConflict"}, {"Code": "None"}]
)


@pytest.fixture
def bench(dynamodb_client: Any, dynamodb_table: str, dynamodb_endpoint: str) -> Bench:
    store = DynamoDBStore(dynamodb_client, table=dynamodb_table, timeout_ms=60_000)
    return Bench(store, dynamodb_client, dynamodb_table, dynamodb_endpoint)


@pytest.fixture
def proxy(bench: Bench) -> Iterator[Proxy]:
    with Proxy(int(urlsplit(bench.endpoint).port or 0)) as proxy:
        yield proxy


@pytest.fixture
def lossy(proxy: Proxy, bench: Bench) -> Iterator[DynamoDBStore]:
    """The store of the bench, seen through the proxy."""
    client, _ = connect(f"dynamodb:///{bench.table}?endpoint=http://127.0.0.1:{proxy.port}", timeout_ms=TIMEOUT_MS)
    with closing(client):
        store = DynamoDBStore(client, table=bench.table, timeout_ms=TIMEOUT_MS)
        store.last_check()
        yield store


@contextmanager
def takes_at_most(limit_ms: int) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert (time.monotonic() - began) * 1000 <= limit_ms


def _started(store: ProcessStore, process: Process, **fields: Any) -> Change:
    return builders.change(process, builders.start(at_ms=store.now_ms(), is_leased=True), lease_ms=60_000, **fields)


def _complete_all(store: ProcessStore, process: Process, *names: str) -> object:
    return store.commit([builders.change(process, builders.complete(at_ms=5), name, token="a" * 16) for name in names])


OPERATIONS: dict[str, Callable[[ProcessStore, Process], object]] = {
    "create": lambda store, process: store.create(process),
    "commit": lambda store, process: _complete_all(store, process, "step"),
    "commit of a batch": lambda store, process: _complete_all(store, process, "step", "other"),
    "discard": lambda store, process: store.discard([Due(StepKey(process.id, "step"), 1_001)], until_ms=10**13),
    "renew": lambda store, process: store.renew([LeaseKey(process.id, "step", 1)], until_ms=10**13),
    "note_check": lambda store, _: store.note_check(LastCheck(1, "us", 2)),
    "load": lambda store, process: store.load(process.id),
    "load_steps": lambda store, process: store.load_steps([StepKey(process.id, "step")]),
    "load_messages": lambda store, process: store.load_messages([StepKey(process.id, "step")]),
    "find": lambda store, process: store.find(process.key),
    "due": lambda store, _: store.due(now_ms=10**14, limit=10),
    "history": lambda store, process: store.history(process.id),
    "list_processes": lambda store, _: store.list_processes(),
    "last_check": lambda store, _: store.last_check(),
    "finished": lambda store, _: store.finished(is_archived=False, limit=10),
    "count_finished": lambda store, _: store.count_finished(is_archived=False),
    "delete": lambda store, process: store.delete(process.id),
}


class TestRoundTrips:
    def test_what_a_program_does_with_a_process_that_it_knows_is_one_transaction_each(self, bench: Bench) -> None:
        process = bench.store_process()

        for rule in (builders.queue(at_ms=1), builders.start(), builders.complete()):
            assert bench.sent(lambda rule=rule: builders.apply(bench.store, process, rule)) == ["TransactWriteItems"]

    def test_a_program_that_does_not_know_the_process_reads_its_head_before(self, bench: Bench) -> None:
        process = bench.store_process()
        builders.apply(bench.store, process, builders.queue(at_ms=1))
        stranger = DynamoDBStore(bench.client, table=bench.table)
        stranger.last_check()

        sent = bench.sent(lambda: builders.apply(stranger, process, builders.start()))

        assert sent == ["GetItem", "TransactWriteItems"]

    def test_nothing_is_ever_scanned(self, bench: Bench) -> None:
        process = bench.store_process(TIMED, ProcessStep("other"))

        sent = bench.sent(lambda: [operation(bench.store, process) for operation in OPERATIONS.values()])

        assert "Query" in sent
        assert "Scan" not in sent

    def test_every_expression_defines_exactly_the_names_and_values_that_it_uses(self, bench: Bench) -> None:
        """moto does not mind, DynamoDB does."""
        first, second = (bench.store_process(TIMED, ProcessStep("other"), deadline_ms=5) for _ in range(2))
        seen: list[Any] = []
        bench.client.meta.events.register("provide-client-params.dynamodb", lambda params, **_: seen.append(params))

        for process in (first, second):
            builders.apply(bench.store, process, builders.queue(at_ms=1), message=b"message")
            builders.apply(bench.store, process, builders.start(at_ms=1, is_leased=True), lease_ms=1)
            builders.apply(bench.store, process, builders.fail())
            builders.apply(bench.store, process, builders.reopen())
            builders.apply(bench.store, process, builders.start(is_leased=True), lease_ms=1)
        for operation in OPERATIONS.values():
            operation(bench.store, first)
        for until_ms in (10**13, None):
            bench.store.discard(bench.store.due(now_ms=10**14, limit=10), until_ms=until_ms)
        builders.apply(bench.store, second, builders.complete())
        builders.apply(bench.store, second, builders.complete(), "other")
        finished = bench.store.finished(is_archived=False, limit=10)
        bench.store.mark_archived(finished)
        bench.store.delete(second.id, finished_since_ms=finished[0].since_ms)

        calls = list(_with_expressions(seen))
        assert len(calls) > 50
        for call in calls:
            text = " ".join(value for name, value in call.items() if name.endswith("Expression"))
            given = {*call.get("ExpressionAttributeNames", ()), *call.get("ExpressionAttributeValues", ())}
            assert set(re.findall(r"[#:]\w+", text)) == given


def _with_expressions(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for one in value:
            yield from _with_expressions(one)
    elif isinstance(value, dict):
        if any(name.endswith("Expression") for name in value):
            yield value
        for one in value.values():
            yield from _with_expressions(one)


class TestLostReplies:
    @pytest.mark.parametrize("loss", list(Loss), ids=lambda loss: loss.name.lower())
    @pytest.mark.parametrize("name", OPERATIONS)
    def test_an_operation_whose_reply_was_lost_is_done_once(
        self, bench: Bench, lossy: DynamoDBStore, proxy: Proxy, name: str, loss: Loss
    ) -> None:
        first, second = (bench.store_process(TIMED, ProcessStep("other"), started_at_ms=5) for _ in range(2))
        for process in (first, second):
            (outcome,) = bench.store.commit([_started(bench.store, process, message=b"message")])
            assert isinstance(outcome, Committed)
            process.steps["step"] = outcome.step
        expected = OPERATIONS[name](bench.store, first)
        proxy.lose(loss)

        answer = OPERATIONS[name](lossy, second)

        assert proxy.lost == 1
        assert _shape(answer) == _shape(expected)
        assert len(bench.store.history(first.id)) == len(bench.store.history(second.id))
        assert _load(bench.store, first.id) == _load(bench.store, second.id)

    def test_the_end_of_a_process_is_told_though_the_reply_was_lost(
        self, bench: Bench, lossy: DynamoDBStore, proxy: Proxy
    ) -> None:
        process = bench.store_process()
        lossy.load(process.id)
        proxy.lose(Loss.RESET)

        (outcome,) = lossy.commit([builders.change(process, builders.complete())])

        assert proxy.lost == 1
        assert isinstance(outcome, Committed)
        assert (outcome.state_before, outcome.state_after) == (ProcessState.PENDING, ProcessState.COMPLETED)

    def test_a_new_process_whose_reply_was_lost_is_stored_once(
        self, bench: Bench, lossy: DynamoDBStore, proxy: Proxy
    ) -> None:
        process = builders.new_process(bench.store, ProcessStep("step", timeout_ms=5, external=True))
        proxy.lose(Loss.RESET)

        live_id = lossy.create(process)

        assert (proxy.lost, live_id) == (1, process.id)
        assert len(bench.store.history(process.id)) == 1
        assert [listed.id for listed in bench.store.list_processes()] == [process.id]


def _shape(answer: object) -> object:
    """What two processes that differ in their ids have in common."""
    if isinstance(answer, list):
        return [_shape(one) for one in answer]
    if isinstance(answer, Committed):
        return answer.state_before, answer.state_after, answer.step.state, answer.step.version
    return type(answer)


def _load(store: ProcessStore, process_id: str) -> object:
    try:
        return [(step.state, step.version) for step in store.load(process_id).steps.values()]
    except errors.ProcessNotFound:
        return None


class TestOutages:
    @pytest.mark.parametrize("name", OPERATIONS)
    def test_a_store_that_falls_silent_holds_nobody_up(
        self, bench: Bench, lossy: DynamoDBStore, proxy: Proxy, name: str
    ) -> None:
        process = bench.store_process(TIMED, ProcessStep("other"))
        proxy.is_blackhole = True

        with takes_at_most(TIMEOUT_MS + SLACK_MS), pytest.raises(errors.StoreUnavailable):
            _raise_errors(OPERATIONS[name](lossy, process))

    @pytest.mark.parametrize("operation", ["now_ms", "last_check", "list_processes"])
    def test_a_server_that_is_not_there_is_told_as_unavailable(self, bench: Bench, operation: str) -> None:
        client, table = connect(f"dynamodb:///absent?endpoint=http://127.0.0.1:{free_port()}", timeout_ms=TIMEOUT_MS)

        with closing(client), takes_at_most(TIMEOUT_MS + SLACK_MS), pytest.raises(errors.StoreUnavailable):
            getattr(DynamoDBStore(client, table=table, timeout_ms=TIMEOUT_MS), operation)()

    def test_a_store_works_again_when_its_server_does(self, bench: Bench, lossy: DynamoDBStore, proxy: Proxy) -> None:
        process = bench.store_process()
        proxy.is_blackhole = True
        with pytest.raises(errors.StoreUnavailable):
            lossy.load(process.id)

        proxy.is_blackhole = False

        assert lossy.load(process.id).id == process.id

    @pytest.mark.parametrize(
        "answer", [THROTTLED, CONFLICT, _error("InternalServerError", 500)], ids=lambda one: one["Error"]["Code"]
    )
    def test_a_busy_table_is_asked_again(self, bench: Bench, answer: dict[str, Any]) -> None:
        process = bench.store_process()

        with bench.failing("TransactWriteItems", answer, answer) as given:
            outcome = builders.apply(bench.store, process, builders.complete())

        assert len(given) == 2
        assert outcome.state_after is ProcessState.COMPLETED

    @pytest.mark.parametrize("answer", [THROTTLED, CONFLICT], ids=lambda one: one["Error"]["Code"])
    def test_a_table_that_stays_busy_is_told_as_unavailable_in_time(self, bench: Bench, answer: dict[str, Any]) -> None:
        process = bench.store_process()
        store = DynamoDBStore(bench.client, table=bench.table, timeout_ms=500)
        store.load(process.id)
        before = bench.items()

        with bench.failing("TransactWriteItems", *[answer] * 1_000), takes_at_most(500 + SLACK_MS):
            (outcome,) = store.commit([builders.change(process, builders.complete())])

        assert isinstance(outcome, errors.StoreUnavailable)
        assert bench.items() == before

    def test_an_access_that_is_denied_is_refused_at_once_and_tells_no_secret(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with (
            bench.failing("GetItem", _error("AccessDeniedException")) as given,
            pytest.raises(errors.StoreError) as told,
        ):
            bench.store.last_check()

        assert len(given) == 1
        assert not isinstance(told.value, errors.StoreUnavailable)
        assert os.environ["AWS_SECRET_ACCESS_KEY"] not in str(told.value)

    def test_what_a_batch_leaves_undone_is_done_in_the_next_round(self, bench: Bench) -> None:
        process = bench.store_process(*[ProcessStep(f"step-{number}") for number in range(30)])
        for name in list(process.steps)[:3]:
            builders.apply(bench.store, process, builders.queue(at_ms=1), name, message=name.encode())
        wanted = [StepKey(process.id, name) for name in process.steps]
        undone = {
            "Responses": {},
            "UnprocessedKeys": {
                bench.table: {"Keys": [keys.message(*key).packed for key in wanted], "ConsistentRead": True}
            },
            "ResponseMetadata": {"HTTPStatusCode": 200},
        }

        with bench.failing("BatchGetItem", undone) as given:
            messages = bench.store.load_messages(wanted)

        assert len(given) == 1
        assert messages[:4] == [b"step-0", b"step-1", b"step-2", None]


def _raise_errors(answer: object) -> None:
    if isinstance(answer, list) and answer and isinstance(answer[0], errors.StoreError):
        raise answer[0]


class TestTables:
    def test_a_table_that_is_missing_is_told(self, bench: Bench) -> None:
        store = DynamoDBStore(bench.client, table="absent")

        with pytest.raises(errors.SchemaOutdated):
            store.last_check()

    def test_a_table_that_goes_missing_is_told(self, bench: Bench) -> None:
        process = bench.store_process()
        client, table = connect(f"dynamodb:///other-{uuid4().hex}?endpoint={bench.endpoint}", timeout_ms=20_000)
        with closing(client):
            create_tables(client, table)
            store = DynamoDBStore(client, table=table)
            store.last_check()
            client.delete_table(TableName=table)

            with pytest.raises(errors.SchemaOutdated):
                store.load(process.id)

    def test_an_index_that_is_missing_is_told_and_made(self, bench: Bench) -> None:
        process = bench.store_process()
        bench.client.update_table(TableName=bench.table, GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "due"}}])
        store = DynamoDBStore(bench.client, table=bench.table)
        with pytest.raises(errors.SchemaOutdated, match="due"):
            store.last_check()
        told: list[str] = []

        create_tables(bench.client, bench.table, progress=told.append)

        assert told == [f"creating index due of table {bench.table}", f"table {bench.table} is ready"]
        assert store.load(process.id).id == process.id

    def test_making_the_tables_again_changes_nothing(self, bench: Bench) -> None:
        process = bench.store_process()

        create_tables(bench.client, bench.table)

        assert bench.store.load(process.id).id == process.id
        (described,) = [bench.client.describe_table(TableName=bench.table)["Table"]]
        assert {index["IndexName"] for index in described["GlobalSecondaryIndexes"]} == set(INDEXES)


GARBAGE: list[dict[str, Any]] = [{"B": b"nonsense"}, {"B": b""}, {"S": "text"}, {"N": "1.5"}, {"BOOL": True}, {"L": []}]


class TestDamage:
    @pytest.mark.parametrize("garbage", GARBAGE, ids=str)
    @pytest.mark.parametrize("attribute", ["record", "version", "name"])
    def test_a_damaged_record_is_an_error_of_its_step_alone(
        self, bench: Bench, attribute: str, garbage: dict[str, Any]
    ) -> None:
        process = bench.store_process(ProcessStep("good"), ProcessStep("bad"))
        for name in ("good", "bad"):
            builders.apply(bench.store, process, builders.start(), name)
        bench.put(keys.step(process.id, "bad"), **{attribute: garbage})

        good, bad = bench.store.load_steps([StepKey(process.id, "good"), StepKey(process.id, "bad")])

        assert good == process.step("good")
        assert bad is None or isinstance(bad, errors.CorruptRecord)
        (outcome,) = bench.store.commit([builders.change(process, builders.complete(), "good")])
        assert isinstance(outcome, Committed)
        (outcome,) = bench.store.commit([replace_version(builders.change(process, builders.complete(), "bad"), 9)])
        assert isinstance(outcome, errors.CorruptRecord | Conflict)

    @pytest.mark.parametrize("garbage", GARBAGE, ids=str)
    @pytest.mark.parametrize("attribute", ["business_key", "started_at_ms", "n0", "present", "since_ms"])
    def test_a_damaged_head_hides_no_other_process(self, bench: Bench, attribute: str, garbage: dict[str, Any]) -> None:
        good, bad = bench.store_process(), bench.store_process()
        bench.put(keys.head(bad.id), **{attribute: garbage})
        store = DynamoDBStore(bench.client, table=bench.table)

        assert [listed.id for listed in store.list_processes()] == [good.id]
        with pytest.raises(errors.CorruptRecord):
            store.load(bad.id)
        (outcome,) = store.commit([builders.change(bad, builders.complete())])
        assert isinstance(outcome, errors.CorruptRecord)
        assert store.delete(bad.id)

    @pytest.mark.parametrize("garbage", [b"", b"nonsense"])
    def test_a_damaged_definition_is_an_error_of_its_process_alone(self, bench: Bench, garbage: bytes) -> None:
        good, bad = bench.store_process(), bench.store_process()
        bench.put(keys.definition(bad.id, 0), data={"B": garbage})
        store = DynamoDBStore(bench.client, table=bench.table)

        records = store.load_steps([StepKey(bad.id, "step"), StepKey(good.id, "step")])
        outcomes = store.commit([builders.change(process, builders.complete()) for process in (bad, good)])

        assert [type(one) for one in records] == [errors.CorruptRecord, ProcessStep]
        assert [type(one) for one in outcomes] == [errors.CorruptRecord, Committed]

    def test_a_log_entry_that_is_not_ours_is_an_error_of_ours(self, bench: Bench) -> None:
        process = bench.store_process()
        bench.put(keys.Key(process.id, "log#nonsense"), events={"S": "?"})

        with pytest.raises(errors.CorruptRecord):
            bench.store.history(process.id)

    @pytest.mark.parametrize("kind", ["due", "lease"])
    def test_a_foreign_entry_of_an_index_is_removed_and_stops_nothing(self, bench: Bench, kind: str) -> None:
        process = bench.store_process(TIMED)
        builders.apply(bench.store, process, builders.start(at_ms=1, is_leased=True), lease_ms=1)
        bench.put(keys.Key(process.id, "foreign"), **{kind: {"S": "0"}, f"{kind}_ms": {"N": "0"}})

        due = bench.store.due(now_ms=10**14, limit=10)

        assert {item.key for item in due} == {StepKey(process.id, "step")}
        assert len(due) == 2
        assert kind not in bench.items()[process.id, "foreign"]

    def test_two_tables_know_nothing_of_each_other(self, bench: Bench) -> None:
        process = bench.store_process()
        client, table = connect(f"dynamodb:///other-{uuid4().hex}?endpoint={bench.endpoint}", timeout_ms=20_000)
        with closing(client):
            create_tables(client, table)
            other = DynamoDBStore(client, table=table)

            assert other.list_processes() == []
            assert other.commit([builders.change(process, builders.start())]) == [Conflict(None)]
            assert other.find(process.key) is None
            client.delete_table(TableName=table)


def replace_version(change: Change, version: int) -> Change:
    before = replace(change.transition.before, version=version)
    return replace(change, transition=replace(change.transition, before=before))


class TestLimits:
    @pytest.mark.parametrize("size", [0, 1, 350_000, 350_001, 2_000_000])
    def test_a_message_of_any_size_that_fits_is_kept_and_dropped_whole(self, bench: Bench, size: int) -> None:
        process = bench.store_process()
        message = os.urandom(size)

        builders.apply(bench.store, process, builders.queue(at_ms=1), message=message)
        assert builders.message_of(bench.store, process) == message
        builders.apply(bench.store, process, builders.start(), message=b"short")
        assert builders.message_of(bench.store, process) == b"short"
        builders.apply(bench.store, process, builders.start(attempt=2), message=message)
        builders.apply(bench.store, process, builders.complete())

        assert builders.message_of(bench.store, process) is None
        assert not [sk for _, sk in bench.items() if sk.startswith("message#")]

    def test_a_message_that_is_too_long_is_refused_and_nothing_is_written(self, bench: Bench) -> None:
        process, other = bench.store_process(), bench.store_process()
        before = bench.items()

        outcome, good = bench.store.commit(
            [
                builders.change(process, builders.queue(at_ms=1), message=b"x" * 3_500_001),
                builders.change(other, builders.queue(at_ms=1), message=b"x"),
            ]
        )

        assert isinstance(outcome, errors.StoreError)
        assert "3500001 bytes" in str(outcome)
        assert isinstance(good, Committed)
        after = bench.items()
        assert {key: item for key, item in after.items() if key[0] == process.id} == {
            key: item for key, item in before.items() if key[0] == process.id
        }

    def test_metadata_that_are_too_long_are_refused_and_nothing_is_written(self, bench: Bench) -> None:
        process = builders.new_process(bench.store, metadata={"noise": os.urandom(15_000_000).hex()})

        with pytest.raises(errors.StoreError, match="the most is"):
            bench.store.create(process)

        assert bench.items() == {}

    def test_metadata_of_several_items_are_kept(self, bench: Bench) -> None:
        metadata = {"noise": os.urandom(3_000_000).hex()}

        process = bench.store_process(metadata=metadata)

        assert bench.store.load(process.id).metadata == metadata
        builders.apply(bench.store, process, builders.complete())
        assert bench.store.delete(process.id)
        assert bench.items() == {}

    @pytest.mark.parametrize("metadata", [{1j: 2}, {"object": object()}])
    def test_metadata_that_are_not_json_are_refused_and_nothing_is_written(
        self, bench: Bench, metadata: dict[Any, Any]
    ) -> None:
        with pytest.raises(errors.DefinitionError):
            bench.store.create(builders.new_process(bench.store, metadata=metadata))

        assert bench.items() == {}

    def test_a_process_of_ten_thousand_steps_is_stored_loaded_and_deleted(self, bench: Bench) -> None:
        names = [f"step-{number}" for number in range(10_000)]
        process = bench.store_process(*names)
        changed = names[::100]
        outcomes = bench.store.commit([builders.change(process, builders.complete(), name) for name in changed])
        assert {type(outcome) for outcome in outcomes} == {Committed}

        loaded = bench.store.load(process.id)

        assert list(loaded.steps) == names
        assert [name for name, step in loaded.steps.items() if step.state is StepState.COMPLETED] == changed
        assert bench.store.list_processes()[0].steps_finished == 100
        assert bench.store.delete(process.id)
        assert bench.items() == {}

    def test_every_one_of_six_thousand_overdue_steps_is_found(self, bench: Bench) -> None:
        steps = [ProcessStep("x" * 400 + str(number), timeout_ms=1_000, external=True) for number in range(6_000)]
        process = bench.store_process(*steps, started_at_ms=1_000)

        due = builders.deadlines(bench.store, now_ms=2_000)

        assert {item.key.step_name for item in due} == set(process.steps)

    def test_a_log_of_more_than_a_megabyte_is_read_whole(self, bench: Bench) -> None:
        process = bench.store_process()
        for number in range(200):
            reason = f"{number} " + "é" * 1_990
            builders.apply(
                bench.store,
                process,
                lambda step, reason=reason: (
                    outcomes.fail(step, reason, run_id="other", now_ms=1)
                    if step.state.is_terminal
                    else outcomes.fail(step, reason, now_ms=1)
                ),
            )

        kinds = [event.kind for event in bench.store.history(process.id)]
        assert Counter(kinds) == {
            EventKind.PROCESS_STARTED: 1,
            EventKind.STEP_FAILED: 1,
            EventKind.PROCESS_FAILED: 1,
            EventKind.OUTCOME_LATE: 199,
        }


class TestCrashes:
    def _prewritten(self, bench: Bench) -> Process:
        """A program died after it had written the long definition and the steps, and before the process."""
        steps = [ProcessStep(f"step-{number}", timeout_ms=1_000, external=True) for number in range(100)]
        process = builders.new_process(bench.store, *steps, started_at_ms=1_000)
        with bench.failing("TransactWriteItems", _error("AccessDeniedException")), pytest.raises(errors.StoreError):
            bench.store.create(process)
        assert bench.items()
        return process

    def test_a_process_that_was_half_written_is_not_there(self, bench: Bench) -> None:
        process = self._prewritten(bench)

        with pytest.raises(errors.ProcessNotFound):
            bench.store.load(process.id)
        assert bench.store.load_steps([StepKey(process.id, "step-1")]) == [None]
        assert bench.store.commit([builders.change(process, builders.start(), "step-1")]) == [Conflict(None)]
        assert (bench.store.list_processes(), bench.store.find(process.key)) == ([], None)

    def test_a_process_that_was_half_written_is_written_by_trying_again(self, bench: Bench) -> None:
        process = self._prewritten(bench)

        assert bench.store.create(process) == process.id

        assert bench.store.load(process.id).steps == process.steps

    def test_a_step_whose_process_is_being_made_keeps_its_deadline_and_its_process(self, bench: Bench) -> None:
        steps = [ProcessStep(f"step-{number}", timeout_ms=1_000, external=True) for number in range(100)]
        process = builders.new_process(bench.store, *steps, started_at_ms=1_000)
        checker = DynamoDBStore(bench.client, table=bench.table, timeout_ms=60_000)

        with bench.just_before("TransactWriteItems", lambda: _discard_all(checker)) as done:
            bench.store.create(process)

        assert done
        assert checker.load(process.id).steps == process.steps
        assert len(builders.deadlines(bench.store, now_ms=bench.store.now_ms() + 3_600_000)) == 100

    def test_a_long_process_that_comes_second_leaves_nothing(self, bench: Bench) -> None:
        steps = [ProcessStep(f"step-{number}", timeout_ms=1_000, external=True) for number in range(100)]
        second = builders.new_process(bench.store, *steps, aggregate_id="one")
        first = builders.new_process(bench.store, aggregate_id="one")
        other = DynamoDBStore(bench.client, table=bench.table, timeout_ms=60_000)

        with bench.just_before("TransactWriteItems", lambda: other.create(first)) as done:
            live_id = bench.store.create(second)

        assert (len(done), live_id) == (1, first.id)
        assert not [key for key in bench.items() if key[0] == second.id]

    def test_what_a_crash_left_is_cleared_away_in_time(self, bench: Bench) -> None:
        self._prewritten(bench)
        clock = ManualClock(bench.store.now_ms() + 3_600_000)
        later = DynamoDBStore(bench.client, table=bench.table, clock=clock)

        later.discard(builders.deadlines(later, now_ms=clock.now_ms()), until_ms=None)

        assert bench.items() == {}

    def test_what_a_broken_deletion_left_holds_nothing_and_is_deleted_later(self, bench: Bench) -> None:
        process = bench.store_process(TIMED, aggregate_id="one")
        builders.apply(bench.store, process, builders.start(at_ms=1), message=b"message")
        with bench.failing("BatchWriteItem", _error("AccessDeniedException")), pytest.raises(errors.StoreError):
            bench.store.delete(process.id)
        assert bench.items()
        assert bench.store.find(process.key) is None
        assert bench.store.load_steps([StepKey(process.id, "step")]) == [None]
        assert builders.deadlines(bench.store, now_ms=10**13) == []

        assert not bench.store.delete(process.id)

        assert bench.items() == {}

    def test_a_deadline_that_a_broken_deletion_left_leads_the_checker_to_clear_up(self, bench: Bench) -> None:
        steps = [ProcessStep(f"step-{number}", timeout_ms=1_000, external=True) for number in range(100)]
        process = bench.store_process(*steps, started_at_ms=1)
        with bench.failing("BatchWriteItem", _error("AccessDeniedException")), pytest.raises(errors.StoreError):
            bench.store.delete(process.id)
        clock = ManualClock(bench.store.now_ms() + 3_600_000)
        later = DynamoDBStore(bench.client, table=bench.table, clock=clock)
        left = builders.deadlines(later, now_ms=clock.now_ms())
        assert 0 < len(left) < 100

        later.discard(left, until_ms=None)

        assert bench.items() == {}


def _discard_all(store: ProcessStore) -> None:
    due = builders.deadlines(store, now_ms=10_000)
    assert len(due) == 100
    store.discard(due, until_ms=None)


class TestRaces:
    def test_threads_that_write_one_process_lose_no_counts(self, bench: Bench) -> None:
        names = [f"step-{number}" for number in range(24)]
        process = bench.store_process(*names)
        stores = [DynamoDBStore(bench.client, table=bench.table, timeout_ms=20_000) for _ in range(4)]
        barrier = Barrier(4)

        def work(number: int) -> None:
            mine = replace(process, steps=dict(process.steps))
            barrier.wait()
            for name in names[number::4]:
                for rule in (builders.queue(at_ms=1), builders.start(), builders.complete()):
                    builders.apply(stores[number], mine, rule, name)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(work, range(4)))

        (listed,) = bench.store.list_processes()
        assert (listed.state, dict(listed.step_counts)) == (ProcessState.COMPLETED, {StepState.COMPLETED: 24})
        assert bench.store.load(process.id).is_completed()
        kinds = [event.kind for event in bench.store.history(process.id)]
        of_steps = [EventKind.STEP_QUEUED, EventKind.STEP_STARTED, EventKind.STEP_COMPLETED]
        own = [EventKind.PROCESS_STARTED, EventKind.PROCESS_COMPLETED]
        assert Counter(kinds) == {**dict.fromkeys(of_steps, 24), **dict.fromkeys(own, 1)}

    def test_a_message_that_grew_meanwhile_is_dropped_whole(self, bench: Bench) -> None:
        process = bench.store_process()
        builders.apply(bench.store, process, builders.queue(at_ms=1), message=os.urandom(1_000_000))
        other = DynamoDBStore(bench.client, table=bench.table)

        builders.apply(other, process, builders.complete())

        assert not [sk for _, sk in bench.items() if sk.startswith("message#")]

    @pytest.mark.fault("A18")
    def test_a_forked_process_makes_connections_of_its_own(self, bench: Bench) -> None:
        process = bench.store_process()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                builders.apply(bench.store, process, builders.complete())
                status = 0
            finally:
                os._exit(status)

        loaded = [bench.store.load(process.id).id for _ in range(20)]
        _, status = os.waitpid(child, 0)

        assert (status, set(loaded)) == (0, {process.id})
        assert bench.store.load(process.id).is_completed()


class TestTime:
    def test_a_host_whose_clock_is_minutes_off_goes_by_dynamodb(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        true_ms = time.time() * 1000
        for off_ms in (-600_000, 600_000):
            monkeypatch.setattr(
                "trellis_celery.stores.dynamodb.calls.machine_now_ms", lambda off_ms=off_ms: int(true_ms + off_ms)
            )
            store = DynamoDBStore(bench.client, table=bench.table)

            assert abs(store.now_ms() - time.time() * 1000) < 2_500

    def test_the_time_may_be_given(self, bench: Bench) -> None:
        clock = ManualClock()
        store = DynamoDBStore(bench.client, table=bench.table, clock=clock)

        process = builders.created(store)
        builders.apply(store, process, builders.complete())

        assert (store.now_ms(), process.started_at_ms) == (clock.now_ms(), clock.now_ms())
        assert [one.since_ms for one in store.finished(is_archived=False, limit=1)] == [clock.now_ms()]

    def test_the_log_of_a_step_is_in_order_though_its_writers_clocks_differ(self, bench: Bench) -> None:
        process = bench.store_process()
        ahead, behind = (
            DynamoDBStore(bench.client, table=bench.table, clock=ManualClock(bench.store.now_ms() + off_ms))
            for off_ms in (2_000, -2_000)
        )
        builders.apply(ahead, process, builders.queue(at_ms=1))
        builders.apply(behind, process, builders.start(at_ms=2))
        builders.apply(ahead, process, builders.complete(at_ms=3))

        kinds = [event.kind for event in bench.store.history(process.id)]

        assert kinds == [
            EventKind.PROCESS_STARTED,
            EventKind.STEP_QUEUED,
            EventKind.STEP_STARTED,
            EventKind.STEP_COMPLETED,
            EventKind.PROCESS_COMPLETED,
        ]
