"""The play: three runs are lost in three ways while a few referrals are handled."""

from __future__ import annotations

import os
import signal
import sys

from example_project.demo import story
from example_project.demo.children import Child, Children
from example_project.demo.screen import Screen
from example_project.demo.story import Loss, Row
from example_project.demo.watch import Watch
from example_project.referrals import partners, service
from example_project.referrals.celery import app, trellis
from example_project.referrals.processes import ReferralIntake
from trellis_celery import Event, EventKind, ProcessHandle, ProcessStep, StepState

#: How long the partners take when they are slow: long enough to be killed in the middle.
SLOW_MS = 30_000
#: The hospital answers when everybody has stopped waiting, and well before the demo is over.
HANG_MS = 7_000


class Script:
    def __init__(self, children: Children, watch: Watch, screen: Screen) -> None:
        self._children = children
        self._watch = watch
        self._screen = screen
        self._losses: list[Loss] = []
        self._told: dict[str, int] = {}
        self._offset_ms = trellis.store.now_ms() - watch.elapsed_ms()
        self.processes: list[ProcessHandle] = []
        self.rows: list[Row] = []
        watch.on_tick = self._look

    def play(self) -> None:
        """All acts. Raises DemoError when one cannot go on."""
        self._worker("main", queue="referrals", concurrency=4)
        calendar = self._worker("calendar", queue="calendar", concurrency=1)
        self._celery("beat", "beat", "--schedule", str(self._children.directory / "beat"))
        intake = self._send()
        self._kill_child(intake)
        self._kill_worker(intake, calendar)
        self._acknowledge()
        self._note_hang(intake)
        self._watch.until("all steps to be completed", self._are_finished)
        self._watch.until("the hung run to come back", lambda: self._has_come_back(intake))

    # Acts

    def _send(self) -> ProcessHandle:
        partners.make_slow("insurer", "ref-1", for_ms=SLOW_MS)
        partners.make_slow("calendar", "ref-1", for_ms=SLOW_MS)
        partners.make_slow("hospital", "ref-1", for_ms=HANG_MS)
        intake = service.take_in("ref-1")
        self.processes = [intake, service.notify("ref-1"), service.notify("ref-2")]
        self._say(f"{len(self.processes)} processes started")
        return intake

    def _kill_child(self, intake: ProcessHandle) -> None:
        step = self._running(intake, "check_insurance")
        pid = self._find_pid(str(step.worker), str(step.task_id))
        self._lose(intake, step.name, "process killed", at_ms=trellis.store.now_ms())
        os.kill(pid, signal.SIGKILL)
        self._say(f"ref-1 {step.name}: KILLED process {pid}, a child of {step.worker}")

    def _kill_worker(self, intake: ProcessHandle, worker: Child) -> None:
        step = self._running(intake, "book_appointment")
        self._lose(intake, step.name, "worker killed", at_ms=trellis.store.now_ms())
        self._children.kill(worker)
        self._say(f"ref-1 {step.name}: KILLED the whole worker {step.worker}")
        self._worker("calendar-2", queue="calendar", concurrency=1)

    def _acknowledge(self) -> None:
        for process in self.processes[1:]:
            service.acknowledge(process.id, by="Dr. Lind")

    def _note_hang(self, intake: ProcessHandle) -> None:
        """Nothing to do: the hospital hangs by itself."""
        started_at_ms = self._first_start(intake, "request_records")
        limit_ms = ReferralIntake.request_records.timeout_ms or 0
        self._lose(intake, "request_records", "out of time", at_ms=started_at_ms + limit_ms)

    # Helpers

    def _worker(self, name: str, *, queue: str, concurrency: int) -> Child:
        return self._celery(
            name, "worker", "-Q", queue, "-c", str(concurrency), "-n", f"{name}@demo", "--loglevel", "INFO"
        )

    def _celery(self, name: str, *arguments: str) -> Child:
        self._say(f"starting {name}")
        return self._children.start(name, sys.executable, "-m", "celery", "-A", "example_project.referrals", *arguments)

    def _find_pid(self, worker: str, task_id: str) -> int:
        """The process that runs a task, as its worker tells."""
        found: list[int] = []

        def ask() -> bool:
            replies = app.control.inspect(destination=[worker], timeout=1.0, limit=1).active() or {}
            tasks = [task for reply in replies.values() for task in reply]
            found.extend(task["worker_pid"] for task in tasks if task["id"] == task_id and task["worker_pid"])
            return bool(found)

        self._watch.until(f"{worker} to tell what it runs", ask)
        return found[0]

    def _running(self, process: ProcessHandle, step_name: str) -> ProcessStep:
        """The step, once it is in the middle of its work."""
        self._watch.until(f"{step_name} to start", lambda: process.steps[step_name].state is StepState.IN_PROGRESS)
        self._watch.pause(500)
        return process.steps[step_name]

    def _first_start(self, process: ProcessHandle, step_name: str) -> int:
        def starts() -> list[int]:
            events = process.history()
            return [e.occurred_at_ms for e in events if (e.kind, e.step_name) == (EventKind.STEP_STARTED, step_name)]

        self._watch.until(f"{step_name} to start", lambda: bool(starts()))
        return starts()[0]

    def _lose(self, process: ProcessHandle, step_name: str, what: str, *, at_ms: int) -> None:
        self._losses.append(Loss(process.id, step_name, what, at_ms))

    # What is seen

    def _look(self) -> None:
        """Read all processes again; show them and what is new in their histories."""
        now_ms = trellis.store.now_ms()
        losses = [loss for loss in self._losses if loss.at_ms <= now_ms]
        rows: list[Row] = []
        news: list[tuple[Event, ProcessHandle]] = []
        for process in self.processes:
            history = process.refresh().history()
            rows += story.rows(process, history, losses)
            news += [(event, process) for event in history[self._told.get(process.id, 0) :]]
            self._told[process.id] = len(history)
        self._tell(news)
        self.rows = rows
        self._screen.show(rows)

    def _tell(self, news: list[tuple[Event, ProcessHandle]]) -> None:
        for event, process in sorted(news, key=lambda each: each[0].occurred_at_ms):
            if text := story.line(event):
                self._say(f"{process.process.aggregate_id} {text}", at_ms=event.occurred_at_ms - self._offset_ms)

    def _say(self, text: str, *, at_ms: int | None = None) -> None:
        self._screen.say(text, at_ms=self._watch.elapsed_ms() if at_ms is None else at_ms)

    def _are_finished(self) -> bool:
        return all(process.state.is_terminal for process in self.processes)

    def _has_come_back(self, intake: ProcessHandle) -> bool:
        late = (EventKind.RUN_REFUSED, EventKind.OUTCOME_LATE)
        return any(event.kind in late and event.step_name == "request_records" for event in intake.history())
