"""All that happens around a store: publishers, a bad broker, workers that die, checkers that overlap, people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from typing import Any

from celery.exceptions import Ignore
from msgspec import Struct
from msgspec.structs import replace

from tests.property.faults import Fault, Faults, FaultyStore
from trellis_celery import errors
from trellis_celery.domain import outcomes, runs, transitions
from trellis_celery.domain.events import Event, ProcessStepTimedOut
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.domain.transitions import Rule, Verdict
from trellis_celery.plugin import headers
from trellis_celery.plugin.headers import Header
from trellis_celery.plugin.run import Run, new_run_id
from trellis_celery.ports import LeaseKey, ProcessStore, Sending, StepKey, Unrelayed
from trellis_celery.services.processes import ProcessService
from trellis_celery.services.recorder import Recorder
from trellis_celery.services.relay import CLAIM_MS, RelayService
from trellis_celery.services.timeouts import TimeoutCheckerService
from trellis_celery.testing import ManualClock

#: As a message that has expired is.
THROW_AWAY = partial(outcomes.throw_away, is_lost=False)

WORKER_LOST_MS = 5_000
CHECK_INTERVAL_MS = 1_000


class Message(Struct, frozen=True):
    """A task message: its id and its trellis header."""

    task_id: str
    header: Header
    #: How often Celery itself has retried the task.
    retries: int = 0

    def stored(self) -> bytes:
        return f"{self.task_id} {self.retries}".encode()


class World:
    """One business key, whose processes follow one another, and everybody who has to do with them."""

    def __init__(self, store: ProcessStore, clock: ManualClock, steps: Sequence[ProcessStep]) -> None:
        self.store = store
        self.clock = clock
        self.steps = list(steps)
        self._faults = Faults()
        faulty: Any = FaultyStore(store, self._faults)
        self._recorder = Recorder(faulty, announces=True)
        self._service = ProcessService(faulty, announces=True)
        self._relay = RelayService(faulty, self, batch_size=2)
        self._checker = TimeoutCheckerService(
            faulty,
            self._hear,
            requeuer=self,
            announces=True,
            worker_lost_ms=WORKER_LOST_MS,
            batch_size=2,
            random_number=lambda: 0.5,
        )
        #: Pictures of the processes as they were when they started.
        self.processes: list[Process] = []
        #: The broker. Any message may come next, twice or never.
        self.queue: list[Message] = []
        self.running: list[Run] = []
        self._message_of: dict[str, Message] = {}
        #: Attempts that went on, or out again, without an answer: the log does not have all of their runs.
        self.untracked: set[LeaseKey] = set()
        self.told: list[ProcessStepTimedOut] = []
        #: What other services have heard of each process: numbers and events.
        self.heard: dict[str, list[tuple[int, Event]]] = {}
        self.with_handler = True
        self._numbers = count(1)

    @contextmanager
    def faults(self, plan: Mapping[int, Fault]) -> Any:
        """Inside, calls go wrong as planned; whoever gets no answer gives up what it was about."""
        with self._faults.planned(plan, self._others_get_on), suppress(errors.StoreUnavailable):
            yield

    def _others_get_on(self) -> None:
        self.check()
        if self.queue:
            self.deliver(len(self.queue) - 1)
        if self.running:
            with suppress(Ignore):
                self.complete(0)

    # Publishers

    def start_process(self) -> None:
        """Start a process, or find the live one."""
        try:
            self._service.start_process(
                tenant_id="tenant",
                process_type="Type",
                aggregate_type="Aggregate",
                aggregate_id="1",
                steps=self.steps,
                deadline_ms=60_000,
            )
        finally:
            known = {process.id for process in self.processes}
            listed = [each.id for each in self.store.list_processes() if each.id not in known]
            self.processes += [self.store.load(process_id) for process_id in listed]

    def send(self, process: Process, step: ProcessStep, *, digest: str, is_strict: bool) -> None:
        """Send the step's task, from what is known of the step."""
        task_id = f"task-{next(self._numbers)}"
        header = Header(
            process_id=process.id,
            process_type="Type",
            step_name=step.name,
            task_id=task_id,
            attempt=max(step.attempt, 1),
            record=step,
        )
        rule = partial(runs.queue, task_id=task_id, args_digest=digest, is_own_run=False)
        self._publish(Message(task_id, header), rule, guess=step, is_strict=is_strict)

    def _publish(
        self,
        message: Message,
        rule: Rule,
        *,
        guess: ProcessStep | None,
        run: Run | None = None,
        is_strict: bool = False,
    ) -> None:
        """What `plugin.publishing` does with a message."""
        key = StepKey(message.header.process_id, message.header.step_name or "")
        try:
            transition = self._recorder.apply(key, rule, guess=guess, message=message.stored())
        except errors.StoreUnavailable:
            if is_strict:
                raise
            self.queue.append(message)  # tracking stops no task
            if run is not None:
                self.untracked.add(_attempt_of(run))
            return
        if run is not None:
            run.saw(transition.after)
        if transition.verdict in (Verdict.STALE, Verdict.FINISHED):
            self.queue.append(message)
        elif transition.verdict is not Verdict.UNTRACKED:
            header = headers.of_step(key.process_id, "Type", transition.after, task_id=message.task_id)
            self.queue.append(replace(message, header=header))

    # Workers

    def deliver(self, index: int, *, keep: bool = False, with_lease: bool = True) -> None:
        """A worker takes a message. `keep`: it will be delivered again."""
        message = self.queue[index] if keep else self.queue.pop(index)
        run = Run(
            self._recorder,
            replace(message.header, run_id=new_run_id(), sent_by=message.header.run_id),
            celery_retries=message.retries,
            lease_ms=WORKER_LOST_MS if with_lease else 0,
            worker="worker",
        )
        self._message_of[run.run_id] = message
        try:
            run.start()
        except errors.StoreUnavailable:
            self.running.append(run)  # tracking stops no task
            self.untracked.add(_attempt_of(run))
            raise
        if run.is_accepted:
            attempts = {_attempt_of(other) for other in self.running} - self.untracked
            assert _attempt_of(run) not in attempts, "two runs of one attempt run at once"
            self.running.append(run)

    def claim_finish(self, index: int) -> None:
        """The body has returned."""
        run = self.running.pop(index)
        with suppress(errors.StoreUnavailable):  # a store that is down holds up no chain
            run.claim_finish()
        self.running.append(run)

    def complete(self, index: int) -> None:
        self.claim_finish(index)
        self.running.pop().complete()

    def end(self, index: int, outcome: Callable[[Run], None]) -> None:
        outcome(self.running.pop(index))

    def retry(self, index: int, *, delay_ms: int) -> None:
        """The body calls `self.retry`, or replaces itself: the task is sent again under its id."""
        run = self.running.pop(index)
        message = self._message_of[run.run_id]
        again = replace(message, header=run.header, retries=message.retries + 1)
        rule = partial(
            runs.queue_again,
            attempt=max(run.header.attempt, 1),
            run_id=run.run_id,
            delay_ms=delay_ms,
            celery_retries=again.retries,
        )
        self._publish(again, rule, guess=run.record, run=run)

    def throw_away(self, index: int, *, is_lost: bool) -> None:
        """A worker cannot do anything with a message."""
        header = self.queue.pop(index).header
        rule = partial(runs.put_back if is_lost else THROW_AWAY, reason="thrown away", attempt=max(header.attempt, 1))
        self._recorder.apply(StepKey(header.process_id, header.step_name or ""), rule)

    def lose(self, index: int, *, rule: Callable[..., transitions.Transition]) -> None:
        """The worker's main process tells what became of the attempt its child ran."""
        run = self.running.pop(index)
        self._recorder.apply(run.key, partial(rule, attempt=max(run.header.attempt, 1), run_id=run.run_id))

    def kill_before_the_start(self, index: int) -> None:
        """A worker takes a message, its child is killed before it asks to start, and the main process tells."""
        header = self.queue.pop(index).header
        rule = partial(outcomes.lose, reason="killed", attempt=max(header.attempt, 1), run_id=new_run_id())
        self._recorder.apply(StepKey(header.process_id, header.step_name or ""), rule)

    def renew(self) -> None:
        leases = [_attempt_of(run) for run in self.running]
        self._recorder.store.renew(leases, until_ms=self.clock.now_ms() + WORKER_LOST_MS)

    # Checkers

    def check(self) -> None:
        self._checker.check_for_timed_out_steps()

    def requeue(self, sendings: Sequence[Sending]) -> list[Exception | None]:
        """The checkers' `Requeuer`."""
        return list(self._faults.call(self._send_all, list(sendings)))

    def _send_all(self, sendings: list[Sending]) -> list[Exception | None]:
        for sending in sendings:
            task_id, retries = (sending.message or b"").decode().split()
            header = headers.of_step(sending.process_id, "Type", sending.step, task_id=task_id)
            self.queue.append(Message(task_id, header, max(int(retries), sending.step.celery_retries)))
        return [None] * len(sendings)

    def _hear(self, event: ProcessStepTimedOut) -> None:
        if not self.with_handler:
            raise RuntimeError("the team's handler is broken")
        self.told.append(event)

    # Relays

    def relay(self) -> None:
        self._relay.relay()

    def announce(self, unrelayed: Sequence[Unrelayed]) -> list[int]:
        """The relays' `Announcer`. Now and then the broker takes a part only."""
        accepted = []
        for one in unrelayed:
            count = self._faults.call(len, one.events) if one.events else 0
            self.heard.setdefault(one.process_id, []).extend(
                (number, event) for number, event in enumerate(one.events[:count], start=one.first_number)
            )
            accepted.append(count)
        return accepted

    # People

    def by_hand(self, process: Process, step_name: str, action: str) -> None:
        act = {
            "start": lambda: self._service.start_step(process.id, step_name),
            "complete": lambda: self._service.complete_step(process.id, step_name),
            "fail": lambda: self._service.fail_step(process.id, step_name, "by hand"),
            "retry": lambda: self._service.retry_step(process.id, step_name),
            "cancel": lambda: self._service.cancel(process.id),
            "close": lambda: self._service.close_incident(process.id, step_name, by="ann"),
        }[action]
        with suppress(errors.InvalidTransition, errors.ProcessExists):
            act()

    # The end

    def come_to_rest(self) -> None:
        """No more faults: runs that stand have died, messages are delivered and their runs end well."""
        self.running.clear()
        self.with_handler = True
        for _ in range(300):
            while self.queue:
                self.deliver(0)
            while self.running:
                with suppress(Ignore):
                    self.complete(0)
            clocks = self.store.due(now_ms=self.clock.now_ms() + 10**9, limit=100)
            if not clocks:
                break
            self.clock.advance(CHECK_INTERVAL_MS)
            self.check()
        else:
            raise AssertionError(f"clocks still run: {clocks}")
        self.clock.advance(CLAIM_MS)
        self.relay()


def _attempt_of(run: Run) -> LeaseKey:
    return LeaseKey(*run.key, max(run.header.attempt, 1))
