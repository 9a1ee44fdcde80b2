"""A cluster whose broker or store a test breaks, and what is sent through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from tests.support.cluster import Cluster
from tests.support.waiting import eventually
from trellis_celery import EventKind, ProcessHandle

APP = "tests.support.apps.breaking"

#: The variable that says where processes are kept, if not beside the results.
STORE = "BREAKING_STORE"
#: The name of the master of a broker and a store that are behind a Sentinel.
MASTER = "BREAKING_MASTER"
#: Set for a worker that is as patient as Celery and trellis are if nothing is said, or nearly.
FAR = "BREAKING_FAR"


@dataclass
class Sent:
    """A process with one step, and its task."""

    cluster: Cluster
    process: ProcessHandle
    task_id: str

    @property
    def step(self) -> Any:
        return self.process.refresh().steps["carry"]

    def runs(self) -> int:
        return len(self.cluster.diary.read(f"ran {self.task_id}"))

    def wait_until_running(self) -> Sent:
        self.cluster.diary.wait_for(f"ran {self.task_id}")
        return self

    def wait_until_ended(self) -> None:
        """Its body, whatever the store knows of it."""
        self.cluster.diary.wait_for(f"ended {self.task_id}")

    def count(self, kind: EventKind) -> int:
        return sum(event.kind is kind for event in self.process.history())


def start(cluster: Cluster, process_type: str = "Parcel") -> ProcessHandle:
    process: ProcessHandle = cluster.trellis.start_process(
        getattr(cluster.module, process_type), tenant_id="tests", aggregate_type="Parcel", aggregate_id=uuid4().hex
    )
    return process


def send(
    cluster: Cluster, seconds: float = 0, *, process_type: str = "Parcel", task: str = "carry", **options: Any
) -> Sent:
    process = start(cluster, process_type)
    task_id = uuid4().hex
    with process:
        getattr(cluster.module, task).apply_async((seconds,), task_id=task_id, **options)
    return Sent(cluster, process, task_id)


def wait_until_completed(*sent: Sent, within_s: float = 20) -> None:
    def left() -> list[Any]:
        return [one.step for one in sent if one.step.state != "completed"]

    try:
        eventually(lambda: not left(), within_s=within_s, what="every step completed")
    except AssertionError as error:
        raise AssertionError(f"{error}; left: {left()}") from None
