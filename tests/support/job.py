"""A process of one step, sent to a cluster, and what became of it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from tests.support.cluster import Cluster
from tests.support.waiting import eventually
from trellis_celery import EventKind, ProcessHandle
from trellis_celery.domain.step import ProcessStep


class Job:
    """Its task is given the job's name first, and writes each of its runs on the diary's page `ran <name>`."""

    def __init__(self, cluster: Cluster, process_type: str, task: str, *args: Any, **options: Any) -> None:
        self.name = uuid4().hex[:8]
        self._diary = cluster.diary
        self.process: ProcessHandle = cluster.trellis.start_process(
            getattr(cluster.module, process_type), tenant_id="tests", aggregate_type="Job", aggregate_id=self.name
        )
        with self.process:
            sent = getattr(cluster.module, task).apply_async((self.name, *args), **options)
        self.task_id = str(sent.id)

    @property
    def step(self) -> ProcessStep:
        """As it is now."""
        return self.process.refresh().steps["work"]

    @property
    def runs(self) -> list[str]:
        """What each run wrote down."""
        return self._diary.read(f"ran {self.name}")

    def wait_for_run(self, number: int = 1) -> str:
        """What that run wrote down, once it has."""
        return self._diary.wait_for(f"ran {self.name}", entries=number)[number - 1]

    def let_go(self) -> None:
        """Let the runs that are held go on."""
        self._diary.write(f"let go {self.name}")

    def times(self, kind: EventKind) -> int:
        """How often this is in the log."""
        return sum(event.kind is kind for event in self.process.history())

    def wait_for_event(self, kind: EventKind, *, within_s: float = 20) -> None:
        eventually(lambda: self.times(kind), within_s=within_s, what=f"{kind} in the log")

    def finish(self, *, within_s: float = 30) -> tuple[str, int]:
        """The state and the attempt of the step, once it is finished."""
        eventually(lambda: self.step.state.is_terminal, within_s=within_s, what=f"{self.process} finished")
        return str(self.step.state), self.step.attempt
