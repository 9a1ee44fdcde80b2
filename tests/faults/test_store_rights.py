"""A user of the store who may not do one of the commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.redis_server import RedisServer, store_of
from trellis_celery import errors
from trellis_celery.doctor.asking import redis_rights
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.domain.tracker import StepTracker
from trellis_celery.ports import Due, LastCheck, LeaseKey, StepKey
from trellis_celery.stores.redis import RedisStore
from trellis_celery.stores.redis.trackers import RedisStepTrackerRepository
from trellis_celery.testing.contract import builders
from trellis_celery.testing.contract.audit import END_OF_TIME_MS

pytestmark = pytest.mark.integration

LEASE_MS = 60_000
STEPS = [
    ProcessStep("queued", timeout_ms=60_000, retries_permitted=2),
    ProcessStep("queued too", timeout_ms=60_000, retries_permitted=2),
    ProcessStep("running", timeout_ms=60_000),
]
AT_ONCE = LastCheck(1, "me", 2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("rights")) as server:
        yield server


@pytest.fixture
def admin(server: RedisServer) -> Iterator[Any]:
    with server.client() as client:
        yield client


@dataclass
class Scene:
    """What each act finds: a process of which two steps are queued and one runs, another that is done, a tracker."""

    process: Process
    done: Process
    tracker: StepTracker

    @staticmethod
    def set_by(helper: RedisStore) -> Scene:
        process = builders.created(helper, *STEPS, aggregate_id="one")  # which says in which shard it is
        done = builders.created(helper, aggregate_id="other")
        at_ms = process.started_at_ms
        running = builders.start(at_ms=at_ms, is_leased=True)
        for name in ("queued", "queued too"):
            builders.apply(helper, process, builders.queue(at_ms=at_ms), name, message=b"message", is_announced=True)
        builders.apply(helper, process, running, "running", lease_ms=LEASE_MS, is_announced=True)
        builders.apply(helper, done, builders.complete(at_ms=at_ms), is_announced=True)
        trackers, step = RedisStepTrackerRepository(helper.client, prefix="apart"), replace(STEPS[0], version=1)
        tracker = StepTracker(process.id, replace(step, deadline_ms=at_ms), b"message", at_ms, at_ms)
        trackers.add(tracker)
        return Scene(process, done, tracker)


# What is done


def tell_the_time(store: RedisStore, scene: Scene) -> object:
    """Not what time it is."""
    return RedisStore(store.client).now_ms() > 0


def create(store: RedisStore, scene: Scene) -> object:
    new = Process.start(
        tenant_id="tenant",
        process_type="Type",
        aggregate_type="Aggregate",
        aggregate_id="new",
        steps=STEPS,
        deadline_ms=60_000,
        now_ms=scene.process.started_at_ms,
    )
    return store.create(new, is_announced=True) == new.id


def begin(store: RedisStore, scene: Scene) -> object:
    return commit(store, scene, STARTS[:1])


def begin_two(store: RedisStore, scene: Scene) -> object:
    """In one go."""
    return commit(store, scene, STARTS)


def end(store: RedisStore, scene: Scene) -> object:
    return commit(store, scene, [("running", builders.complete)])


STARTS = [(name, partial(builders.start, is_leased=True)) for name in ("queued", "queued too")]


def commit(store: RedisStore, scene: Scene, rules: Sequence[tuple[str, Callable[..., builders.Rule]]]) -> object:
    """The first that was refused, or of what kind the outcomes are."""
    process, at_ms = scene.process, scene.process.started_at_ms
    changes = [
        builders.change(process, rule(at_ms=at_ms), name, lease_ms=LEASE_MS, is_announced=True) for name, rule in rules
    ]
    outcomes = store.commit(changes)
    return next((each for each in outcomes if isinstance(each, Exception)), [type(each) for each in outcomes])


def delete(store: RedisStore, scene: Scene) -> object:
    return store.delete(scene.process.id)


def delete_what_is_done(store: RedisStore, scene: Scene) -> object:
    return store.delete(scene.done.id)


def archive(store: RedisStore, scene: Scene) -> None:
    store.mark_archived(store.finished(is_archived=False, limit=10))


def claim(store: RedisStore, scene: Scene) -> object:
    claimed = store.claim_unrelayed(limit=10, until_ms=END_OF_TIME_MS)
    return Counter(len(each.events) for each in claimed)


def relay(store: RedisStore, scene: Scene) -> None:
    store.mark_relayed(scene.process.id, last_number=4)


def put_off(store: RedisStore, scene: Scene) -> None:
    deadline_ms = scene.process.step("queued").deadline_ms
    assert deadline_ms is not None
    store.discard([Due(StepKey(scene.process.id, "queued"), deadline_ms)], until_ms=END_OF_TIME_MS)


def renew(store: RedisStore, scene: Scene) -> object:
    return store.renew([LeaseKey(scene.process.id, "running", 1)], until_ms=END_OF_TIME_MS)


def note_a_check(store: RedisStore, scene: Scene) -> None:
    store.note_check(AT_ONCE)


def count(store: RedisStore, scene: Scene) -> None:
    store.add_untracked({"publish": 1})


def load(store: RedisStore, scene: Scene) -> object:
    return store.load(scene.process.id)


def find(store: RedisStore, scene: Scene) -> object:
    return store.find(scene.process.key)


def look_around(store: RedisStore, scene: Scene) -> object:
    return store.list_processes()


def look_back(store: RedisStore, scene: Scene) -> object:
    return store.history(scene.process.id)


def look_for_due(store: RedisStore, scene: Scene) -> object:
    return store.due(now_ms=END_OF_TIME_MS, limit=10)


def read_messages(store: RedisStore, scene: Scene) -> object:
    return store.load_messages([StepKey(scene.process.id, "queued")])


def take_stock(store: RedisStore, scene: Scene) -> object:
    return store.stats()


def count_what_waits(store: RedisStore, scene: Scene) -> object:
    return store.unrelayed(), [store.count_finished(is_archived=each) for each in (False, True)]


def track(store: RedisStore, scene: Scene) -> None:
    new = replace(scene.tracker, process_id=scene.done.id)
    RedisStepTrackerRepository(store.client, prefix="apart").add(new)


def save_a_tracker(store: RedisStore, scene: Scene) -> None:
    step = replace(scene.tracker.step, version=2, deadline_ms=None)
    new = replace(scene.tracker, step=step, message=None, lease_until_ms=None)
    RedisStepTrackerRepository(store.client, prefix="apart").save(new)


def note_a_copy(store: RedisStore, scene: Scene) -> None:
    RedisStepTrackerRepository(store.client, prefix="apart").mark_copied([scene.tracker])


def untrack(store: RedisStore, scene: Scene) -> None:
    RedisStepTrackerRepository(store.client, prefix="apart").delete(scene.process.id)


def read_trackers(store: RedisStore, scene: Scene) -> object:
    trackers = RedisStepTrackerRepository(store.client, prefix="apart")
    late = trackers.all_timed_out(now_ms=END_OF_TIME_MS, limit=10)
    return trackers.all_of(scene.process.id), late, trackers.all_uncopied(now_ms=END_OF_TIME_MS, limit=10)


READS = (load, find, look_around, look_back, look_for_due, read_messages, take_stock, count_what_waits, read_trackers)
WRITES = (
    *(
        create,
        begin,
        begin_two,
        end,
        delete,
        delete_what_is_done,
        archive,
        claim,
        relay,
        put_off,
        renew,
        note_a_check,
        count,
    ),
    *(track, save_a_tracker, note_a_copy, untrack),
)
ACTS = (tell_the_time, *WRITES, *READS)
Act = Callable[[RedisStore, Scene], object]


@dataclass(frozen=True)
class Whole:
    """What an act comes to, done by one who may do everything."""

    outcome: object
    shape: Counter[str]


@pytest.mark.fault("S7")
@pytest.mark.parametrize("command", redis_rights.COMMANDS)
def test_s7_a_command_that_is_denied_leaves_nothing_half_written(
    server: RedisServer, admin: Any, caplog: pytest.LogCaptureFixture, command: str
) -> None:
    rights = ["+" + name.lower().replace(" ", "|") for name in redis_rights.COMMANDS]
    denied = "-" + command.lower().replace(" ", "|")
    admin.execute_command("ACL", "SETUSER", "shop", "reset", "on", ">secret", "~*", *rights, denied)
    url = server.url().replace("redis://", "redis://shop:secret@")
    refused = []
    with store_of(server.url()) as helper, store_of(url) as store:
        for act in ACTS:
            scene = fresh(admin, helper)
            whole = Whole(act(helper, scene), shape(admin))
            scene = fresh(admin, helper)
            before = contents(admin)
            admin.script_flush()

            outcome = tried(act, store, scene)

            if isinstance(outcome, Exception):
                # Leases are renewed, and in the same go somebody asks when the last check was.
                if (act, command) != (renew, "HGETALL"):
                    assert contents(admin) == before, f"{act.__name__} was half done: {outcome}"
                refused.append(act.__name__)
            else:
                assert shape(admin) == whole.shape, f"{act.__name__} was half done, and nobody was told"
                expected = act(helper, scene) if act in READS else whole.outcome
                if outcome != expected:
                    assert "ERROR" in caplog.text, f"{act.__name__} was told something else, and not why"
                    refused.append(act.__name__)
            caplog.clear()
    assert refused, "nothing that is done here needs it"


@pytest.mark.fault("S7")
def test_s7_a_check_that_may_not_read_its_indexes_does_not_find_that_nothing_is_due(
    server: RedisServer, admin: Any
) -> None:
    admin.execute_command("ACL", "SETUSER", "shop", "reset", "on", ">secret", "~*", "+@all", "-zrangebyscore")

    url = server.url().replace("redis://", "redis://shop:secret@")
    with store_of(url) as store, pytest.raises(errors.StoreError, match=r"(?i)zrangebyscore"):
        store.due(now_ms=END_OF_TIME_MS, limit=10)


def fresh(admin: Any, helper: RedisStore) -> Scene:
    admin.flushall()
    return Scene.set_by(helper)


def tried(act: Act, store: RedisStore, scene: Scene) -> object:
    """What came of it, or what was refused."""
    try:
        return act(store, scene)
    except errors.StoreError as error:
        return error


def contents(admin: Any) -> dict[bytes, Any]:
    """All that there is. A DUMP would not do: that of the same value is not always the same."""
    read = {
        b"hash": admin.hgetall,
        b"zset": lambda key: admin.zrange(key, 0, -1, withscores=True),
        b"list": lambda key: admin.lrange(key, 0, -1),
        b"set": admin.smembers,
    }
    return {key: read[admin.type(key)](key) for key in admin.scan_iter("*")}


def shape(admin: Any) -> Counter[str]:
    """How much there is under keys of each kind, in whatever shards it is."""
    sizes = {b"hash": admin.hlen, b"zset": admin.zcard, b"list": admin.llen, b"set": admin.scard}
    found: Counter[str] = Counter()
    for key in admin.scan_iter("*"):
        kind = ":".join(part for part in key.decode().split(":") if len(part) < 30 and not part.startswith("{"))
        found[kind] += sizes[admin.type(key)](key)
    return found
