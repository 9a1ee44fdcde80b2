"""Servers of Redis of which another takes the place of one: behind a Sentinel, and in a cluster."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import redis

from tests.support.programs import Program, free_port
from tests.support.redis_forms import MASTER_NAME
from tests.support.redis_server import RedisServer, redis_binary
from tests.support.waiting import eventually
from trellis_celery import errors
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.stores.redis import RedisStore
from trellis_celery.testing.contract import builders

#: A server that is silent for so long is taken for down, ms.
DOWN_AFTER_MS = 600
_SLOTS = 16_384
#: A replica is served at once, instead of with others that may come within seconds.
_AT_ONCE = ("--repl-diskless-sync-delay", "0")


@dataclass
class Pair:
    """A master, its replica, and the Sentinel that watches them."""

    master: RedisServer
    replica: RedisServer
    sentinel_port: int
    sentinel_host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"sentinel://{self.sentinel_host}:{self.sentinel_port}/0"

    @property
    def transport_options(self) -> dict[str, Any]:
        return {"master_name": MASTER_NAME}

    def sentinel(self) -> redis.Redis:
        """A client of it; the caller closes it."""
        return redis.Redis(self.sentinel_host, self.sentinel_port, decode_responses=True)

    def master_port(self) -> int:
        """Of the server that the Sentinel says is the master."""
        with self.sentinel() as sentinel:
            return int(sentinel.sentinel_masters()[MASTER_NAME]["port"])

    def fail_over(self) -> None:
        """By the Sentinel, though nothing is wrong with the master."""
        with self.sentinel() as sentinel:

            def is_begun() -> bool:
                try:
                    return bool(sentinel.execute_command("SENTINEL FAILOVER", MASTER_NAME))
                except redis.ResponseError:  # it does not know the replica well enough yet
                    return False

            eventually(is_begun, what="the failover begun")
        self.wait_for_promotion()

    def wait_for_promotion(self) -> None:
        eventually(lambda: self.master_port() == self.replica.port, what="the Sentinel named another master")
        self.replica.wait_for("replication", lambda info: info["role"] == "master", what="the replica promoted")

    def wait_for_return(self) -> None:
        """Until the former master is a replica of the new one, and in step: the Sentinel tells it after ten seconds."""
        is_up = lambda info: info.get("master_link_status") == "up"  # noqa: E731
        self.master.wait_for("replication", is_up, within_s=60, what="in step again")


def wait_for_stream(master: RedisServer, replica: RedisServer) -> None:
    """Until writes reach the replica one by one: its link is up a second before that."""
    replica.wait_for("replication", lambda info: info.get("master_link_status") == "up", what="the replica linked")
    with master.client() as client:
        client.publish("something", "to be told of")
        assert client.wait(1, 10_000) == 1


@contextmanager
def watched_pair(
    directory: Path, *options: str, master: RedisServer | None = None, host: str = "127.0.0.1"
) -> Iterator[Pair]:
    """`master`: one that is there already, elsewhere. `host`: where the replica and the Sentinel listen."""
    with ExitStack() as stack:
        if master is None:
            master = stack.enter_context(RedisServer(directory, *_AT_ONCE, *options, name="master"))
        copied = ("--replicaof", master.host, str(master.port), *_AT_ONCE, *options)
        replica = stack.enter_context(RedisServer(directory, *copied, host=host, name="replica"))
        wait_for_stream(master, replica)
        pair = Pair(master, replica, free_port(), host)
        sentinel = Program(
            [redis_binary(), _sentinel_config(directory, pair), "--sentinel"], name="sentinel", directory=directory
        )
        stack.callback(sentinel.kill)
        client: Any = pair.sentinel()
        stack.callback(client.close)
        sentinel.wait_until(lambda: _answers(client))
        known = lambda: [int(one["port"]) for one in client.sentinel_slaves(MASTER_NAME)]  # noqa: E731
        eventually(lambda: known() == [replica.port], what="the replica known to the Sentinel")
        yield pair


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _sentinel_config(directory: Path, pair: Pair) -> Path:
    config = directory / "sentinel.conf"
    lines = (
        f"port {pair.sentinel_port}",
        f"bind {pair.sentinel_host}",
        "protected-mode no",
        f"sentinel monitor {MASTER_NAME} {pair.master.host} {pair.master.port} 1",
        f"sentinel down-after-milliseconds {MASTER_NAME} {DOWN_AFTER_MS}",
        f"sentinel failover-timeout {MASTER_NAME} 3000",
    )
    config.write_text("\n".join(lines) + "\n")
    return config


class Ring:
    """A cluster of three masters, of which the first has a replica."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(DOWN_AFTER_MS), *_AT_ONCE)
        self.nodes = [
            stack.enter_context(
                RedisServer(directory, *options, "--cluster-config-file", f"nodes-{number}.conf", name=f"node-{number}")
            )
            for number in range(4)
        ]
        self.clients: list[Any] = [
            stack.enter_context(node.client(decode_responses=True, socket_timeout=5)) for node in self.nodes
        ]
        for number, client in enumerate(self.clients[:3]):
            first, last = (_SLOTS * part // 3 for part in (number, number + 1))
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, last - 1)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            self.clients[0].execute_command("CLUSTER MEET", node.host, node.port)
        for client in self.clients:
            eventually(partial(self._is_whole, client), what="the cluster whole")
        self.clients[3].execute_command("CLUSTER REPLICATE", self.id_of(0))
        wait_for_stream(self.nodes[0], self.nodes[3])

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.nodes[1].port}"

    def id_of(self, number: int) -> str:
        return str(self.clients[number].execute_command("CLUSTER MYID"))

    def wait_for_promotion(self) -> None:
        """Until the replica has the place of the first master, as all see it."""
        self.nodes[3].wait_for("replication", lambda info: info["role"] == "master", what="the replica promoted")
        for client in self.clients[1:]:
            eventually(partial(self._is_whole, client), what="the cluster whole again")

    def move_slot(self, slot: int, source: int, target: int) -> int:
        """As `redis-cli --cluster reshard` does it, key by key; return how many keys were moved."""
        giving, taking = self.clients[source], self.clients[target]
        ids = self.id_of(source), self.id_of(target)
        taking.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[0])
        giving.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[1])
        moved = 0
        while keys := giving.execute_command("CLUSTER GETKEYSINSLOT", slot, 1):
            place = (self.nodes[target].host, self.nodes[target].port)
            giving.execute_command("MIGRATE", *place, "", 0, 5_000, "KEYS", *keys)
            moved += len(keys)
        # The taker first: until it knows, it sends whoever comes back to the giver.
        for client in dict.fromkeys((taking, giving, *self.clients[:3])):
            client.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[1])
        # Or the next slot could be taken in the same epoch, and nobody would know by whom.
        eventually(lambda: len({self._epoch(client) for client in self.clients}) == 1, what="one epoch")
        return moved

    @staticmethod
    def _epoch(client: Any) -> int:
        return int(client.execute_command("CLUSTER INFO")["cluster_current_epoch"])

    @staticmethod
    def _is_whole(client: Any) -> bool:
        info = client.execute_command("CLUSTER INFO")
        return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == 4


@dataclass
class Writer:
    """A thread that starts processes and steps as fast as it can, and remembers what was acknowledged."""

    store: RedisStore
    #: Each process with the version of its step that the store has told.
    acknowledged: dict[str, int] = field(default_factory=dict)
    refused: list[errors.StoreError] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._has_to_stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._has_to_stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "a call of the store does not end"

    def wait_for(self, number: int) -> None:
        """Until so many more processes were acknowledged."""
        enough = len(self.acknowledged) + number
        eventually(lambda: len(self.acknowledged) >= enough, what=f"{number} more written")

    def copied(self, master: RedisServer, replica: RedisServer) -> dict[str, int]:
        """What is acknowledged by now, once the replica has got it."""
        acknowledged = dict(self.acknowledged)
        wait_for_stream(master, replica)
        return acknowledged

    def since(self, known: dict[str, int]) -> dict[str, int]:
        """What was acknowledged after that."""
        return {each: version for each, version in dict(self.acknowledged).items() if known.get(each) != version}

    def by_now(self) -> dict[str, int]:
        """What is acknowledged, once a process is that was begun after this call."""
        self.wait_for(2)  # the first may have been begun before
        return dict(self.acknowledged)

    def lost(self, store: RedisStore, acknowledged: dict[str, int] | None = None) -> list[str]:
        """What was acknowledged, and is not there, or not as it was."""
        known = self.acknowledged if acknowledged is None else acknowledged
        return [process_id for process_id, version in known.items() if _version(store, process_id) < version]

    def _write(self) -> None:
        while not self._has_to_stop.is_set():
            try:
                self._write_one(self.store)
            except errors.StoreError as error:
                self.refused.append(error)

    def _write_one(self, store: RedisStore) -> None:
        process = builders.new_process(store, ProcessStep("step", timeout_ms=60_000))
        store.create(process)
        self.acknowledged[process.id] = 1
        for rule in (builders.queue(at_ms=store.now_ms()), builders.start(at_ms=store.now_ms(), is_leased=True)):
            self.acknowledged[process.id] = _committed(store, process, rule)


def _committed(store: RedisStore, process: Process, rule: builders.Rule) -> int:
    (outcome,) = store.commit([builders.change(process, rule, message=b"message", lease_ms=60_000)])
    if isinstance(outcome, errors.StoreError):
        raise outcome
    step = getattr(outcome, "step", None)
    assert step is not None, f"somebody else wrote the step: {outcome}"
    process.steps["step"] = step
    return int(step.version)


def _version(store: RedisStore, process_id: str) -> int:
    try:
        return store.load(process_id).step("step").version
    except errors.ProcessNotFound:
        return 0
