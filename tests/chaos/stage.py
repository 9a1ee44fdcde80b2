"""What is broken: two workers, two beats, a store, a broker, and the client that sends orders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from kombu.exceptions import OperationalError

from tests.chaos import STRICT
from tests.chaos.client import Client
from tests.chaos.ledger import LEDGER, Ledger
from tests.chaos.servers import RabbitMQ, Server
from tests.support.cluster import Cluster
from tests.support.programs import Program
from tests.support.redis_server import DURABLE, RedisServer
from trellis_celery.errors import TrellisError
from trellis_celery.plugin.requeue import CeleryRequeuer
from trellis_celery.ports import Sending, StepKey

WORKERS, BEATS = 2, 2


class Stage:
    def __init__(self, cluster: Cluster, *, store: Server, broker: Server, ledger: Ledger, every_s: float) -> None:
        self._cluster = cluster
        self.store = store
        self.broker = broker
        self.ledger = ledger
        self.workers = [self._worker(index) for index in range(WORKERS)]
        self.beats = [self._beat(index) for index in range(BEATS)]
        for worker in self.workers:
            cluster.wait_for_worker(worker)
        self.client = Client(self.module, every_s=every_s)

    @property
    def module(self) -> ModuleType:
        return self._cluster.module

    def start_worker(self, index: int) -> None:
        self.workers[index] = self._worker(index)

    def start_beat(self, index: int) -> None:
        self.beats[index] = self._beat(index)

    def empty_queue(self) -> bool:
        """Throw away what waits in the queue; whether there was anything."""
        try:
            with self._cluster.app.connection_for_write() as connection:
                return bool(self._cluster.app.control.purge(connection=connection))
        except OperationalError:
            return False

    def copy_message(self, target: float) -> bool:
        """Send the message of a step that is under way once more, as a broker does that delivers twice."""
        store = self.module.trellis.store
        try:
            under_way = [
                (process_id, step)
                for process_id in list(self.client.accepted.processes.values())[-20:]
                for step in store.load(process_id).steps.values()
                if step.task_id is not None and not step.state.is_terminal
            ]
            if not under_way:
                return False
            process_id, step = under_way[int(target * len(under_way))]
            (message,) = store.load_messages([StepKey(process_id, step.name)])
            sending = Sending(process_id, step, message)
            return CeleryRequeuer(self._cluster.app).requeue([sending]) == [None]
        except (TrellisError, OperationalError):
            return False

    def output(self) -> list[tuple[str, str]]:
        """The last words of each program."""
        return self._cluster.report()

    def _worker(self, index: int) -> Program:
        return self._cluster.worker(name=f"worker-{index}", wait=False, env={STRICT: "0"})

    def _beat(self, index: int) -> Program:
        return self._cluster.beat(name=f"beat-{index}", env={STRICT: "0"})


@contextmanager
def stage(directory: Path, *, broker: str, every_s: float) -> Iterator[Stage]:
    """All of it, on servers of its own. `broker`: "redis" or "rabbitmq". `every_s`: seconds between two orders."""
    ledger = Ledger(directory / "ledger.sqlite3")
    with pytest.MonkeyPatch.context() as environment, ExitStack() as stack:
        environment.setenv(STRICT, "1")
        environment.setenv(LEDGER, str(ledger.path))
        store = stack.enter_context(RedisServer(_made(directory / "store"), *DURABLE, name="store"))
        server: Server
        if broker == "rabbitmq":
            server = rabbitmq = stack.enter_context(RabbitMQ(_made(directory / "broker")))
            url = rabbitmq.url
        else:
            server = redis = stack.enter_context(RedisServer(_made(directory / "broker"), name="broker"))
            url = redis.url()
        cluster = Cluster(
            "tests.chaos.app", redis_url=f"redis://{store.host}:{store.port}", directory=directory, broker_url=url
        )
        stack.enter_context(closing(cluster))
        yield Stage(cluster, store=store, broker=server, ledger=ledger, every_s=every_s)


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
