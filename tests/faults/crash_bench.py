"""What the operations that are killed work on: processes in the condition that each wants to find one in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import uuid4

from celery import signals
from celery.worker.request import Request
from kombu import Queue

from tests.support.apps.making import WORKER_LOST_MS
from tests.support.cluster import Cluster
from tests.support.waiting import eventually
from trellis_celery import EventKind, ProcessHandle
from trellis_celery.bootstrap import open_store
from trellis_celery.plugin.exchange import topic
from trellis_celery.plugin.headers import of_step, read
from trellis_celery.plugin.run import Run
from trellis_celery.settings import Settings

TENANT = "crash"


class Bench:
    """Makes the processes, does what workers would, and knows what was answered and what was announced."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster = cluster
        #: Every business key that there may be a process of.
        self.keys: set[str] = set()
        self._aside: dict[int, Any] = {}
        self._stored = directory / "stored"
        self._stored.touch()
        self._connection = cluster.app.connection_for_read()
        subscribed = Queue(f"subscriber-{uuid4().hex}", topic(cluster.module.EXCHANGE), routing_key="#")
        self._subscriber = subscribed(self._connection.default_channel)
        self._subscriber.declare()
        self._tasks = cluster.app.amqp.queues["crashing"](self._connection.default_channel)

    @property
    def trellis(self) -> Any:
        return self.cluster.trellis

    @property
    def aside(self) -> Any:
        """A store of which things are removed on purpose, and nobody else knows. Each program opens its own."""
        pid = os.getpid()
        if pid not in self._aside:
            self._aside[pid] = open_store(Settings(url=self.trellis.settings.url, key_prefix="aside"))
        return self._aside[pid]

    @property
    def stored_ids(self) -> set[str]:
        """The processes whose start was answered, in this program or in one that was killed after that."""
        return set(self._stored.read_text().split())

    def key(self) -> str:
        aggregate_id = uuid4().hex
        self.keys.add(aggregate_id)
        return aggregate_id

    def start(self, process_type: str, aggregate_id: str = "") -> ProcessHandle:
        handle: ProcessHandle = self.trellis.start_process(
            getattr(self.cluster.module, process_type),
            tenant_id=TENANT,
            aggregate_type="Job",
            aggregate_id=aggregate_id or self.key(),
        )
        with self._stored.open("a") as stored:
            stored.write(f"{handle.id}\n")
        return handle

    def queued(self, step: str, *arguments: str) -> ProcessHandle:
        """A job whose task for this step waits in the queue, and no other."""
        handle = self.start("Job")
        self.cluster.app.control.purge()
        with handle:
            getattr(self.cluster.module, step).delay(*arguments)
        return handle.refresh()

    def sent(self, step: str) -> ProcessHandle:
        """A job whose task for this step is on its way, and lost there."""
        handle = self.queued(step)
        self.cluster.app.control.purge()
        return handle

    def running(self, step: str) -> ProcessHandle:
        """A job of which a run of this step has begun, and will not be heard of again."""
        handle = self.sent(step)
        header = of_step(handle.id, handle.process.process_type, handle.steps[step])
        self._run(header).start()
        return handle.refresh()

    def received(self, handle: ProcessHandle, step: str) -> Request:
        """The message for the current attempt of this step, as a worker has received it."""
        app, task_id = self.cluster.app, handle.refresh().steps[step].task_id
        while True:
            message = self._tasks.get(no_ack=True)
            assert message is not None, f"there is no message for {handle} {step}"
            if message.headers["id"] == task_id:
                break
        request = Request(message, app=app, hostname=self.cluster.module.BENCH, task=app.tasks[message.headers["task"]])
        signals.task_received.send(sender=self.cluster, request=request)
        return request

    def start_run_of(self, request: Request) -> None:
        """Start the step of a message, in a child that is gone then."""
        self._run(read(request.request_dict)).start()

    def _run(self, header: Any) -> Run:
        return Run(self.trellis.recorder, header, celery_retries=0, lease_ms=WORKER_LOST_MS, worker="bench")

    def given_up(self) -> ProcessHandle:
        handle = self.running("try_once")
        eventually(lambda: self.check() and handle.refresh().process.has_incident, within_s=20, what="given up")
        return handle

    def check(self) -> bool:
        self.trellis.timeouts.check_for_timed_out_steps(by="bench")
        return True

    def heard(self) -> dict[str, list[tuple[int, str, str, int]]]:
        """What the exchange's subscriber has heard of each process, in the order in which it came."""
        heard: dict[str, list[tuple[int, str, str, int]]] = {}
        while (message := self._subscriber.get(no_ack=True)) is not None:
            one = message.payload
            heard.setdefault(one["process_id"], []).append((one["number"], one["event"], one["step"], one["attempt"]))
        return heard

    def close(self) -> None:
        self._connection.close()


def is_logged(handle: ProcessHandle, kind: EventKind) -> bool:
    return any(event.kind is kind for event in handle.history())
