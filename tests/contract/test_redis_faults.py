"""What the Redis store does when the server, the network or what is stored is not as it should be."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count, islice, takewhile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import redis

from tests.support import redis_forms
from tests.support.programs import free_port
from tests.support.proxy import Loss, Proxy
from trellis_celery import errors
from trellis_celery.domain import outcomes, runs
from trellis_celery.domain.identity import SHARDS, BusinessKey
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.queries import ProcessFilter
from trellis_celery.domain.step import ProcessStep, StepState
from trellis_celery.ports import Change, Committed, Conflict, Due, LastCheck, LeaseKey, ProcessStore, StepKey
from trellis_celery.services.recorder import Recorder
from trellis_celery.stores.digests import digest
from trellis_celery.stores.redis import RedisStore
from trellis_celery.stores.redis.connect import connect
from trellis_celery.stores.redis.keys import Keys, shard_of
from trellis_celery.testing.contract import builders

TIMEOUT_MS = 2_000
#: What a busy machine may add to a time limit.
SLACK_MS = 2_500
PREFIX = "faults"
TIMED = ProcessStep("step", timeout_ms=1_000, retries_permitted=2)

#: What is stored under each key.
Contents = dict[bytes, Any]


@dataclass
class Bench:
    """A store, and a client of its own to look at the server with."""

    store: RedisStore
    raw: Any
    keys: Keys
    #: The port that the store's client is connected to.
    port: int

    def contents(self) -> Contents:
        readers: dict[bytes, Callable[[bytes], Any]] = {
            b"string": self.raw.get,
            b"hash": self.raw.hgetall,
            b"set": self.raw.smembers,
            b"list": lambda key: self.raw.lrange(key, 0, -1),
            b"zset": lambda key: self.raw.zrange(key, 0, -1, withscores=True),
        }
        return {key: readers[self.raw.type(key)](key) for key in self.raw.scan_iter("*")}

    def dump(self) -> list[tuple[bytes, bytes]]:
        return [(key, self.raw.dump(key)) for key in self.raw.scan_iter("*")]

    def restore(self, dump: list[tuple[bytes, bytes]]) -> None:
        self.raw.flushdb()
        for key, value in dump:
            self.raw.restore(key, 0, value)

    def start_process(self, *steps: ProcessStep, **fields: Any) -> Process:
        return builders.created(self.store, *(steps or (TIMED,)), **fields)

    def keys_of_commit(self, process: Process) -> list[str]:
        """As in the header of commit.lua."""
        return self.keys.all_of(process.id)


@pytest.fixture
def bench(each_redis_url: str) -> Iterator[Bench]:
    client = connect(each_redis_url, timeout_ms=5_000)
    port = int(urlsplit(each_redis_url).port or 0)
    with closing(client), redis.Redis.from_url(each_redis_url) as raw:
        yield Bench(RedisStore(client, prefix=PREFIX), raw, Keys(PREFIX), port)


@pytest.fixture
def proxy(bench: Bench) -> Iterator[Proxy]:
    with Proxy(bench.port) as proxy:
        yield proxy


@pytest.fixture
def lossy(proxy: Proxy, bench: Bench) -> Iterator[RedisStore]:
    """The store of the bench, seen through the proxy."""
    client = connect(f"redis://127.0.0.1:{proxy.port}/0", timeout_ms=TIMEOUT_MS)
    with closing(client):
        yield RedisStore(client, prefix=PREFIX)


def started(store: ProcessStore, process: Process, **fields: Any) -> Change:
    return builders.change(process, builders.start(at_ms=store.now_ms(), is_leased=True), lease_ms=60_000, **fields)


# Round trips


class Wire:
    """Counts the commands that clients send to the server, scripts' own calls left out."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def commands(self, act: Callable[[], object]) -> list[str]:
        with self._raw.monitor() as monitor:
            self._raw.echo("begin")
            act()
            self._raw.echo("end")
            seen = [entry["command"] for entry in takewhile(_is_not("ECHO end"), monitor.listen()) if _is_sent(entry)]
        return [command.split()[0] for command in seen[seen.index("ECHO begin") + 1 :]]


def _is_not(command: str) -> Callable[[Any], bool]:
    return lambda entry: entry["command"] != command


def _is_sent(entry: Any) -> bool:
    return bool(entry["client_type"] != "lua")


class TestRoundTrips:
    def test_publish_start_and_complete_are_one_command_each(self, bench: Bench) -> None:
        process = bench.start_process()
        bench.store.commit([started(bench.store, bench.start_process())])  # the script is known from here on
        recorder, key = Recorder(bench.store), StepKey(process.id, "step")
        record = process.step("step")
        rules = [
            partial(runs.queue, task_id="task", args_digest=""),
            partial(runs.start, run_id="run", is_leased=True),
            partial(outcomes.complete, run_id="run"),
        ]

        for rule in rules:

            def act(rule: Any = rule) -> None:
                nonlocal record
                record = recorder.apply(key, rule, guess=record, message=b"message", lease_ms=5_000).after

            assert Wire(bench.raw).commands(act) == ["EVALSHA"]

        assert builders.loaded_step(bench.store, process).state is StepState.COMPLETED

    def test_a_wrong_guess_costs_one_command_more(self, bench: Bench) -> None:
        process = bench.start_process()
        old = process.step("step")
        builders.apply(bench.store, process, builders.queue(at_ms=bench.store.now_ms()))
        rule = partial(runs.start, run_id="run")

        commands = Wire(bench.raw).commands(
            lambda: Recorder(bench.store).apply(StepKey(process.id, "step"), rule, guess=old)
        )

        assert commands == ["EVALSHA", "EVALSHA"]

    def test_a_batch_of_changes_goes_out_at_once(self, bench: Bench) -> None:
        processes = [bench.start_process() for _ in range(20)]
        changes = [started(bench.store, process) for process in processes]
        bench.store.commit(changes[:2])

        commands = Wire(bench.raw).commands(lambda: bench.store.commit(changes))

        assert commands.count("EVALSHA") == 20
        assert set(commands) <= {"EVALSHA", "SCRIPT"}

    @pytest.mark.parametrize(
        "only",
        [
            ProcessFilter(),
            ProcessFilter(process_type="Type"),
            ProcessFilter(tenant_id="tenant", state=ProcessState.PENDING),
            ProcessFilter(aggregate_id="4711"),
            ProcessFilter(is_overdue=True),
        ],
        ids=["all", "type", "tenant and state", "aggregate", "overdue"],
    )
    def test_a_page_costs_the_same_however_many_processes_there_are(self, bench: Bench, only: ProcessFilter) -> None:
        def commands() -> Counter[str]:
            return Counter(Wire(bench.raw).commands(lambda: bench.store.list_processes(only, limit=10)))

        bench.start_process(aggregate_id="4711")
        aggregate_ids = _in_each_shard_in_turn()
        for aggregate_id in islice(aggregate_ids, 3 * SHARDS):
            bench.start_process(aggregate_id=aggregate_id)
        of_some = commands()
        for aggregate_id in islice(aggregate_ids, 20 * SHARDS):
            bench.start_process(aggregate_id=aggregate_id)
        of_many = commands()

        assert set(of_many) <= {"SMEMBERS", "ZREVRANGEBYLEX", "HMGET"}
        assert of_many["HMGET"] <= SHARDS * 4  # the first entries of each shard's lists
        assert of_many["ZREVRANGEBYLEX"] == of_some["ZREVRANGEBYLEX"]


def _in_each_shard_in_turn() -> Iterator[str]:
    """Aggregate ids whose processes fill the shards evenly. Where one has much more, more of it has to be read."""
    for number in count():
        for shard in range(SHARDS):
            yield next(each for salt in count() if _shard_of(each := f"{number}-{salt}") == shard)


def _shard_of(aggregate_id: str) -> int:
    key = BusinessKey(tenant_id="tenant", process_type="Type", aggregate_type="Aggregate", aggregate_id=aggregate_id)
    return key.shard


# Lost replies


def _discard(store: ProcessStore, process: Process) -> None:
    store.discard([Due(StepKey(process.id, "step"), process.step("step").deadline_ms or 0)], until_ms=10**13)


def _commit(store: ProcessStore, process: Process) -> object:
    return store.commit([builders.change(process, builders.complete(at_ms=5), token="a" * 16)])


def _commit_batch(store: ProcessStore, process: Process) -> object:
    rule = builders.complete(at_ms=5)
    return store.commit([builders.change(process, rule, name, token="a" * 16) for name in ("step", "other")])


OPERATIONS: dict[str, Callable[[ProcessStore, Process], object]] = {
    "create": lambda store, process: store.create(process),
    "commit": _commit,
    "commit of a batch": _commit_batch,
    "discard": _discard,
    "renew": lambda store, process: store.renew([LeaseKey(process.id, "step", 1)], until_ms=10**13),
    "note_check": lambda store, _: store.note_check(LastCheck(1, "us", 2)),
    "delete": lambda store, process: store.delete(process.id),
    "load": lambda store, process: store.load(process.id),
    "load_steps": lambda store, process: store.load_steps([StepKey(process.id, "step")]),
    "load_messages": lambda store, process: store.load_messages([StepKey(process.id, "step")]),
    "find": lambda store, process: store.find(process.key),
    "due": lambda store, _: store.due(now_ms=10**14, limit=10),
    "history": lambda store, process: store.history(process.id),
    "list_processes": lambda store, _: store.list_processes(),
    "last_check": lambda store, _: store.last_check(),
}


def _without_times(contents: Contents) -> Contents:
    """But for the times at which the process was finished by the server's clock: twice is not at the same time."""
    return {
        key: [member for member, _ in value]
        if key.endswith(b":waiting")
        else {field: _without_since(one) if field == b"state" else one for field, one in value.items()}
        if isinstance(value, dict)
        else value
        for key, value in contents.items()
    }


def _without_since(state: bytes) -> list[bytes]:
    class_digit, _, counts = state.split(b" ")
    return [class_digit, counts]


class TestLostReplies:
    @pytest.mark.fault("B11")
    @pytest.mark.parametrize("loss", list(Loss), ids=lambda loss: loss.name.lower())
    @pytest.mark.parametrize("name", OPERATIONS)
    def test_an_operation_whose_reply_was_lost_is_done_once(
        self, bench: Bench, lossy: RedisStore, proxy: Proxy, name: str, loss: Loss
    ) -> None:
        process = bench.start_process(TIMED, ProcessStep("other"))
        (outcome,) = bench.store.commit([started(bench.store, process, message=b"message")])
        assert isinstance(outcome, Committed)
        process.steps["step"] = outcome.step
        before = bench.dump()
        expected = OPERATIONS[name](bench.store, process)
        once = bench.contents()
        bench.restore(before)
        lossy.last_check()  # the connection is made
        proxy.lose(loss)

        answer = OPERATIONS[name](lossy, process)

        assert proxy.lost == 1
        assert answer == expected
        assert _without_times(bench.contents()) == _without_times(once)

    @pytest.mark.fault("B11")
    @pytest.mark.parametrize("loss", list(Loss), ids=lambda loss: loss.name.lower())
    def test_a_new_process_whose_reply_was_lost_is_stored_once(
        self, bench: Bench, lossy: RedisStore, proxy: Proxy, loss: Loss
    ) -> None:
        process = builders.new_process(bench.store, ProcessStep("step", timeout_ms=5, external=True))
        lossy.create(builders.new_process(bench.store, TIMED))
        proxy.lose(loss)

        live_id = lossy.create(process)

        assert proxy.lost == 1
        assert live_id == process.id
        assert len(bench.store.history(process.id)) == 1
        assert len(bench.store.list_processes()) == 2

    @pytest.mark.parametrize("loss", list(Loss), ids=lambda loss: loss.name.lower())
    def test_after_two_lost_replies_the_caller_is_told_in_time(
        self, bench: Bench, lossy: RedisStore, proxy: Proxy, loss: Loss
    ) -> None:
        process = bench.start_process()
        lossy.last_check()
        proxy.lose(loss, *[loss] * 5)  # of the second connection, the replies to its greetings as well

        with takes_at_most(TIMEOUT_MS + SLACK_MS), pytest.raises(errors.StoreUnavailable):
            lossy.load(process.id)

    @pytest.mark.fault("B11")
    def test_a_lost_reply_to_the_question_for_the_time_is_asked_again(
        self, bench: Bench, lossy: RedisStore, proxy: Proxy
    ) -> None:
        lossy.last_check()
        proxy.lose(Loss.RESET)

        assert abs(lossy.now_ms() - bench.store.now_ms()) < 1_000


@contextmanager
def takes_at_most(limit_ms: int) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert (time.monotonic() - began) * 1000 <= limit_ms


# Deletion


@pytest.mark.parametrize("is_finished", [False, True], ids=["live", "finished"])
def test_of_a_deleted_process_nothing_is_left_but_its_type_and_what_was_counted(
    bench: Bench, is_finished: bool
) -> None:
    process = bench.start_process(TIMED)
    start = builders.start(at_ms=bench.store.now_ms(), is_leased=True)
    builders.apply(bench.store, process, start, message=b"message", lease_ms=60_000)
    if is_finished:
        builders.apply(bench.store, process, builders.complete())

    assert bench.store.delete(process.id)

    shard = f"{process.key.shard:x}"
    assert {key.decode() for key in bench.contents()} == {bench.keys.types(shard), bench.keys.totals(shard)}


# Servers that are not there, or not able


class TestOutages:
    @pytest.mark.fault("B12")
    @pytest.mark.parametrize("name", OPERATIONS)
    def test_a_store_that_falls_silent_holds_nobody_up(
        self, bench: Bench, lossy: RedisStore, proxy: Proxy, name: str
    ) -> None:
        process = bench.start_process(TIMED, ProcessStep("other"))
        lossy.last_check()
        proxy.is_blackhole = True

        with takes_at_most(TIMEOUT_MS + SLACK_MS), pytest.raises((errors.StoreUnavailable, _OutcomesAreErrors)):
            _raise_errors(OPERATIONS[name](lossy, process))

    @pytest.mark.fault("B12")
    def test_a_silent_store_is_told_as_unavailable_for_each_change(
        self, bench: Bench, lossy: RedisStore, proxy: Proxy
    ) -> None:
        process = bench.start_process()
        lossy.last_check()
        proxy.is_blackhole = True

        with takes_at_most(TIMEOUT_MS + SLACK_MS):
            (outcome,) = lossy.commit([started(bench.store, process)])

        assert isinstance(outcome, errors.StoreUnavailable)

    @pytest.mark.parametrize("operation", ["now_ms", "last_check"])
    def test_a_server_that_is_not_there_is_told_as_unavailable(self, operation: str) -> None:
        client = connect(f"redis://127.0.0.1:{free_port()}/0", timeout_ms=TIMEOUT_MS)

        with closing(client), takes_at_most(TIMEOUT_MS + SLACK_MS), pytest.raises(errors.StoreUnavailable):
            getattr(RedisStore(client, prefix=PREFIX), operation)()

    def test_a_store_works_again_when_its_server_does(self, bench: Bench, lossy: RedisStore, proxy: Proxy) -> None:
        process = bench.start_process()
        proxy.is_blackhole = True
        with pytest.raises(errors.StoreUnavailable):
            lossy.load(process.id)

        proxy.is_blackhole = False

        assert lossy.load(process.id).id == process.id

    @pytest.mark.fault("S6")
    def test_forgotten_scripts_are_sent_again(self, bench: Bench) -> None:
        process, other = bench.start_process(), bench.start_process()

        bench.raw.script_flush()
        builders.apply(bench.store, process, builders.start(at_ms=1))
        bench.raw.script_flush()
        outcomes = bench.store.commit([started(bench.store, other), builders.change(process, builders.complete())])
        bench.raw.script_flush()
        bench.store.discard(builders.deadlines(bench.store, now_ms=10**14), until_ms=None)
        bench.raw.script_flush()
        bench.start_process()

        assert [type(outcome) for outcome in outcomes] == [Committed, Committed]
        assert builders.deadlines(bench.store, now_ms=10**14) == []

    @pytest.mark.fault("B3")
    def test_a_full_server_writes_nothing_and_says_so(self, bench: Bench) -> None:
        process = bench.start_process()
        change = started(bench.store, process, message=b"message")
        before = bench.contents()
        bench.raw.config_set("maxmemory", 1)
        try:
            (outcome,) = bench.store.commit([change])
            batch = bench.store.commit([change, change])
            with pytest.raises(errors.StoreUnavailable):
                bench.start_process()
            with pytest.raises(errors.StoreUnavailable):
                bench.store.note_check(LastCheck(1, "us", 1))
            loaded = bench.store.load(process.id)
        finally:
            bench.raw.config_set("maxmemory", 0)

        assert [type(one) for one in (outcome, *batch)] == [errors.StoreUnavailable] * 3
        assert loaded.steps == process.steps
        assert bench.contents() == before
        (outcome,) = bench.store.commit([change])
        assert isinstance(outcome, Committed)

    @pytest.mark.fault("B3")
    def test_a_step_can_be_finished_for_good_or_not_at_all_on_a_full_server(self, bench: Bench) -> None:
        process = bench.start_process()
        builders.apply(bench.store, process, builders.queue(at_ms=1), message=b"message")
        before = bench.contents()
        bench.raw.config_set("maxmemory", 1)
        try:
            (outcome,) = bench.store.commit([builders.change(process, builders.complete())])
        finally:
            bench.raw.config_set("maxmemory", 0)

        assert isinstance(outcome, errors.StoreUnavailable)
        assert bench.contents() == before

    def test_a_read_only_replica_is_read_and_not_written(self, tmp_path: Path) -> None:
        with redis_forms.replicated(tmp_path) as (master, replica):
            writing, reading = (connect(f"redis://127.0.0.1:{port}/0", timeout_ms=5_000) for port in (master, replica))
            with closing(writing), closing(reading):
                process = builders.created(RedisStore(writing, prefix=PREFIX))
                writing.wait(1, 5_000)
                store = RedisStore(reading, prefix=PREFIX)

                (outcome,) = store.commit([builders.change(process, builders.start())])

                assert isinstance(outcome, errors.StoreUnavailable)
                assert store.load(process.id).steps == process.steps
                with pytest.raises(errors.StoreUnavailable):
                    store.note_check(LastCheck(1, "us", 1))


# What is stored is not ours


def _spoil(raw: Any, key: str) -> None:
    """Put something of another type under the key."""
    kind = raw.type(key)
    raw.delete(key)
    if kind == b"list":
        raw.hset(key, "a", "hash")
    else:
        raw.rpush(key, "a list")


class TestWrongTypes:
    @pytest.mark.fault("S8")
    @pytest.mark.parametrize("number", range(11), ids=lambda number: f"key {number + 1}")
    @pytest.mark.parametrize("is_batch", [False, True], ids=["alone", "in a batch"])
    def test_a_commit_that_meets_a_key_of_a_wrong_type_writes_nothing(
        self, bench: Bench, number: int, is_batch: bool
    ) -> None:
        process, other = bench.start_process(), bench.start_process(aggregate_id="other")
        builders.apply(bench.store, process, builders.queue(at_ms=1), message=b"message")
        builders.apply(bench.store, process, builders.start(is_leased=True), lease_ms=60_000)
        _spoil(bench.raw, bench.keys_of_commit(process)[number])
        before = bench.contents()
        # One that writes every key: it goes from one class to another, and into one whose processes are finished.
        failing = partial(builders.change, process, builders.fail(), message=b"other", is_announced=True)
        changes = [failing(), failing()] if is_batch else [failing()]

        outcomes = bench.store.commit(changes)

        assert {type(outcome) for outcome in outcomes} == {errors.CorruptRecord}
        assert bench.contents() == before
        if shard_of(other.id) != shard_of(process.id):
            assert isinstance(bench.store.commit([started(bench.store, other)])[0], Committed)

    @pytest.mark.fault("S8")
    @pytest.mark.parametrize("key", ["deadlines", "live", "index", "types"])
    def test_a_process_that_meets_a_key_of_a_wrong_type_is_not_stored(self, bench: Bench, key: str) -> None:
        external = ProcessStep("step", timeout_ms=5, external=True)
        first = bench.start_process(external)
        shard, keys = shard_of(first.id), bench.keys
        second = builders.new_process(bench.store, external)
        second.id = f"{shard}{second.id[1:]}"
        _spoil(bench.raw, getattr(keys, key)(shard))
        before = bench.contents()

        with pytest.raises(errors.CorruptRecord):
            bench.store.create(second)

        assert bench.contents() == before

    @pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"due", "last_check", "note_check"}))
    def test_an_operation_that_meets_keys_of_a_wrong_type_raises_or_returns_an_error_of_ours(
        self, bench: Bench, name: str
    ) -> None:
        process = bench.start_process(TIMED, ProcessStep("other"))
        bench.store.commit([started(bench.store, process, message=b"message")])
        for key in filter(bench.raw.exists, bench.keys_of_commit(process)):
            _spoil(bench.raw, key)

        with pytest.raises((errors.StoreError, _OutcomesAreErrors)):
            _raise_errors(OPERATIONS[name](bench.store, process))


class _OutcomesAreErrors(Exception):
    pass


def _raise_errors(answer: object) -> None:
    if isinstance(answer, list) and answer and all(isinstance(one, errors.StoreError) for one in answer):
        raise _OutcomesAreErrors


class TestForeignData:
    @pytest.mark.fault("S8")
    @pytest.mark.parametrize("garbage", [b"", b"nonsense", b"2 ab", b"2 ab {}", b"x ab []", b"2 ab [1]", b"2 ab \xff"])
    def test_a_damaged_record_is_an_error_of_its_step_alone(self, bench: Bench, garbage: bytes) -> None:
        process = bench.start_process(ProcessStep("good"), ProcessStep("bad"))
        bench.raw.hset(bench.keys.process(process.id), "s:bad", garbage)

        good, bad = bench.store.load_steps([StepKey(process.id, "good"), StepKey(process.id, "bad")])
        outcomes = bench.store.commit([builders.change(process, builders.complete(), name) for name in ("bad", "good")])

        assert good == process.step("good")
        assert isinstance(bad, errors.CorruptRecord)
        assert [type(outcome) for outcome in outcomes] == [errors.CorruptRecord, Committed]
        assert bench.raw.hget(bench.keys.process(process.id), "s:bad") == garbage
        with pytest.raises(errors.CorruptRecord):
            bench.store.load(process.id)

    @pytest.mark.parametrize("field", ["meta", "state", "identity"])
    @pytest.mark.parametrize(
        "garbage", [None, b"", b"nonsense", b"99", b"[]", b"4 0", b"4 0 1", b"9 x 1,1", b"4 0 1,0,0,0,0,0,0"]
    )
    def test_a_damaged_process_is_changed_as_a_whole_or_not_at_all(
        self, bench: Bench, field: str, garbage: bytes | None
    ) -> None:
        process = bench.start_process()
        key = bench.keys.process(process.id)
        if garbage is None:
            bench.raw.hdel(key, field)
        else:
            bench.raw.hset(key, field, garbage)
        before = bench.contents()

        (outcome,) = bench.store.commit([builders.change(process, builders.complete())])

        assert isinstance(outcome, Committed) or bench.contents() == before

    @pytest.mark.fault("S8")
    @pytest.mark.parametrize("member", [b"", b"nonsense", b"|", b"x|y|z", b"\xff\xfe", b"0-" + b"0" * 32])
    @pytest.mark.parametrize("index", ["deadlines", "leases"])
    def test_a_foreign_member_of_an_index_is_removed_and_stops_nothing(
        self, bench: Bench, index: str, member: bytes
    ) -> None:
        process = bench.start_process()
        builders.apply(bench.store, process, builders.start(at_ms=1, is_leased=True), lease_ms=1)
        key = getattr(bench.keys, index)(shard_of(process.id))
        bench.raw.zadd(key, {member: 0})

        due = bench.store.due(now_ms=10**14, limit=10)

        assert {item.key.process_id for item in due} == {process.id}
        assert len(due) == 2
        assert bench.raw.zscore(key, member) is None

    def test_a_log_entry_that_is_not_ours_is_an_error_of_ours(self, bench: Bench) -> None:
        process = bench.start_process()
        bench.raw.rpush(bench.keys.log(process.id), b"nonsense")

        with pytest.raises(errors.CorruptRecord):
            bench.store.history(process.id)

    @pytest.mark.fault("S8")
    def test_one_damaged_process_does_not_hide_the_others(self, bench: Bench) -> None:
        good, bad = bench.start_process(), bench.start_process()
        bench.raw.hset(bench.keys.process(bad.id), "state", b"nonsense")

        listed = bench.store.list_processes()

        assert [process.id for process in listed] == [good.id]

    @pytest.mark.parametrize("number", [0.5, 2**62, -1, float("inf"), float("-inf")])
    def test_a_score_that_is_no_time_stops_no_check(self, bench: Bench, number: float) -> None:
        process = bench.start_process()
        builders.apply(bench.store, process, builders.start(at_ms=1))
        bench.raw.zadd(bench.keys.deadlines(shard_of(process.id)), {f"{process.id}|other": number})

        due = bench.store.due(now_ms=10**14, limit=10)

        assert StepKey(process.id, "step") in [item.key for item in due]

    def test_two_prefixes_in_one_database_know_nothing_of_each_other(self, bench: Bench) -> None:
        process = bench.start_process()
        other = RedisStore(bench.store._client, prefix=uuid4().hex)

        assert other.list_processes() == []
        assert other.commit([builders.change(process, builders.start())]) == [Conflict(None)]
        assert other.find(process.key) is None


class TestTheServersTime:
    def test_a_shift_of_the_servers_clock_is_followed(self, bench: Bench) -> None:
        process = bench.start_process()
        # As if the server's clock had gone back since.
        bench.store._clock.correct(bench.store.now_ms() + 3_600_000, called_at_s=time.monotonic())

        builders.apply(bench.store, process, builders.start())

        seconds, microseconds = bench.raw.time()
        assert abs(bench.store.now_ms() - (seconds * 1000 + microseconds // 1000)) < 1_000


class TestDamagedByTheWay:
    """What is only told or counted must not keep anything else from being done."""

    @pytest.mark.parametrize("entry", [b'["step_paused","a",1,5,"",""]', b"nonsense"], ids=["later release", "garbage"])
    def test_a_log_that_cannot_be_read_keeps_nobody_elses_from_being_relayed(self, bench: Bench, entry: bytes) -> None:
        processes = [builders.new_process(bench.store) for _ in range(3)]
        for process in processes:
            bench.store.create(process, is_announced=True)
        bench.raw.rpush(bench.keys.log(processes[1].id), entry)

        found = bench.store.claim_unrelayed(limit=10, until_ms=bench.store.now_ms() + 1_000)

        assert {each.process_id for each in found} == {processes[0].id, processes[2].id}

    def test_a_total_that_is_no_number_keeps_nothing_else_from_being_written(self, bench: Bench) -> None:
        process = bench.start_process(ProcessStep("a"))
        totals = bench.keys.totals(shard_of(process.id))
        bench.raw.hset(totals, digest(process.process_type) + b"step_completed\na", "junk")

        builders.apply(bench.store, process, builders.start(), "a")
        bench.store.commit([builders.change(process, builders.complete(), "a")])

        assert bench.store.load(process.id).is_completed()
        assert bench.store.find(process.key) is None
        assert bench.store.count_finished(is_archived=False) == 1
