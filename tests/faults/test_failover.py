"""Another server takes the place of the store's own: behind a Sentinel, and in a cluster."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis.crc import key_slot

from tests.support.failover import Pair, Ring, Writer, wait_for_stream, watched_pair
from tests.support.redis_server import RedisServer, store_of
from tests.support.waiting import eventually
from trellis_celery import errors
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import Committed
from trellis_celery.stores.redis import RedisStore
from trellis_celery.testing.contract import builders
from trellis_celery.testing.contract.audit import assert_consistent

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def no_connections_left() -> Iterator[None]:
    """redis-py does not close those to a server that has gone."""
    yield
    gc.collect()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with watched_pair(tmp_path) as pair:
        yield pair


@pytest.fixture
def store(pair: Pair) -> Iterator[RedisStore]:
    with store_of(pair.url, timeout_ms=1_000, **pair.transport_options) as store:
        yield store


@pytest.mark.fault("B5")
def test_b5_a_write_that_a_former_master_refuses_is_made_on_the_new_one(pair: Pair, store: RedisStore) -> None:
    process = builders.created(store, ProcessStep("step", timeout_ms=60_000))
    with pair.master.client() as former:
        former.wait(1, 5_000)
        pair.fail_over()
        former.replicaof(pair.replica.host, pair.replica.port)  # the Sentinel says so a few seconds later

    (outcome,) = store.commit([builders.change(process, builders.start(at_ms=store.now_ms()))])

    assert isinstance(outcome, Committed)
    with store_of(pair.replica.url()) as new_master:
        assert new_master.load(process.id).step("step") == outcome.step


@pytest.mark.fault("B6")
@pytest.mark.parametrize("fail", [RedisServer.kill, RedisServer.freeze], ids=["killed", "frozen"])
def test_b6_nothing_that_the_replica_has_got_is_lost_when_the_master_fails(
    pair: Pair, store: RedisStore, fail: Callable[[RedisServer], None]
) -> None:
    with Writer(store) as writer:
        writer.wait_for(50)
        copied = writer.copied(pair.master, pair.replica)
        fail(pair.master)
        pair.wait_for_promotion()
        before = writer.by_now()
        writer.wait_for(50)
        if pair.master.is_running:
            pair.master.thaw()  # it takes itself for the master until the Sentinel tells it
            cut_clients(pair.replica)
            writer.wait_for(50)
            pair.wait_for_return()
            writer.wait_for(50)

    by_the_new_master = writer.since(before)
    assert len(by_the_new_master) >= 50
    assert writer.lost(store, {**copied, **by_the_new_master}) == []
    assert all(isinstance(error, errors.StoreUnavailable) for error in writer.refused)
    with store_of(pair.replica.url()) as new_master:
        everything = [each.id for each in new_master.list_processes(limit=100_000)]
        assert {*copied, *by_the_new_master} <= set(everything)
        assert_consistent(new_master, everything)


def cut_clients(server: RedisServer) -> None:
    """They have to ask the Sentinel anew, whose own connections stay."""
    with server.client(decode_responses=True) as admin:
        for each in admin.client_list(_type="normal"):
            if each["cmd"] != "client|list" and not each["name"].startswith("sentinel"):
                admin.client_kill_filter(_id=each["id"])


@pytest.mark.fault("B6", "B7")
def test_b6_who_slept_through_it_all_and_still_holds_on_to_the_old_master_is_refused(tmp_path: Path) -> None:
    """With `min-replicas-to-write`, which `trellis doctor` asks for. Without, what that master takes is lost."""
    guarded = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "1")
    with (
        watched_pair(tmp_path, *guarded) as pair,
        store_of(pair.url, timeout_ms=1_000, **pair.transport_options) as store,
    ):
        kept = builders.created(store)
        wait_for_stream(pair.master, pair.replica)
        pair.master.freeze()
        pair.wait_for_promotion()
        pair.master.thaw()
        pair.master.wait_for("replication", lambda info: info["connected_slaves"] == 0, what="it sees that it is alone")

        acknowledged = [kept]

        def is_written() -> bool:
            try:
                acknowledged.append(builders.created(store))
            except errors.StoreUnavailable:
                return False
            return True

        is_written()
        eventually(is_written, within_s=60, what="written to the new master")

        with store_of(pair.replica.url()) as new_master:
            for process in acknowledged:
                assert new_master.load(process.id).id == process.id


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    with ExitStack() as stack:
        yield Ring(stack, tmp_path)


@pytest.mark.fault("B8")
def test_b8_nothing_that_the_replica_has_got_is_lost_when_a_master_of_a_cluster_is_killed(ring: Ring) -> None:
    with store_of(ring.url, timeout_ms=1_000) as store, Writer(store) as writer:
        writer.wait_for(50)
        copied = writer.copied(ring.nodes[0], ring.nodes[3])
        ring.nodes[0].kill()
        ring.wait_for_promotion()
        before = writer.by_now()
        writer.wait_for(100)  # a third of them to the new master
        writer.stop()

        by_the_new_masters = writer.since(before)
        assert len(by_the_new_masters) >= 100
        assert writer.lost(store, {**copied, **by_the_new_masters}) == []
        assert all(isinstance(error, errors.StoreUnavailable) for error in writer.refused)


@pytest.mark.fault("B8")
def test_b8_a_slot_that_moves_while_it_is_written_loses_nothing(ring: Ring) -> None:
    with store_of(ring.url, timeout_ms=2_000) as store, Writer(store) as writer:
        writer.wait_for(50)
        moved = 0
        for process_id in list(writer.acknowledged)[:10]:
            slot = key_slot(store._keys.process(process_id).encode())
            owners = [ring.clients[number].execute_command("CLUSTER COUNTKEYSINSLOT", slot) for number in range(3)]
            source = owners.index(max(owners))
            moved += ring.move_slot(slot, source, (source + 1) % 3)
        writer.wait_for(50)
        writer.stop()

        assert moved > 50
        assert writer.refused == []
        assert writer.lost(store) == []
