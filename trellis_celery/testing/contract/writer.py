"""A program that writes to a store all the time, in every way there is, until it is killed: see `crashes`.

What it does follows from a seed, but for the ids. Each of its changes logs one event, and each queued step gets a
message, so that an audit knows what there must be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from trellis_celery.domain import outcomes, runs
from trellis_celery.domain.process import OWN_RECORD, Process, mark_overdue
from trellis_celery.domain.step import ProcessStep, StepState
from trellis_celery.domain.transitions import Transition
from trellis_celery.ports import Change, Committed, LastCheck, LeaseKey, ProcessStore
from trellis_celery.testing.contract import builders
from trellis_celery.testing.contract.builders import MINUTE_MS, Rule
from trellis_celery.testing.contract.rival import Opener

#: It deletes a process when it has more.
MANY = 8


def write_until_killed(open_store: Opener, seed: int, inherited: Sequence[str], tell: Callable[[Any], None]) -> None:
    """Tell each process before it is stored, and None before every other write.

    `inherited`: ids of processes that an earlier writer left.
    """
    writer = _Writer(open_store(), Random(seed), tell)  # noqa: S311 — the same each time
    writer.take_over(inherited)
    while True:
        writer.write_something()


class _Writer:
    def __init__(self, store: ProcessStore, random: Random, tell: Callable[[Any], None]) -> None:
        self._store = store
        self._random = random
        self._tell = tell
        self._processes: list[Process] = []

    def take_over(self, process_ids: Sequence[str]) -> None:
        self._processes = [self._store.load(process_id) for process_id in process_ids]

    def write_something(self) -> None:
        if not self._processes:
            return self._start()
        if len(self._processes) > MANY:
            return self._delete()
        ways = (self._start, self._change, self._renew, self._put_off, self._archive, self._note, self._delete)
        (way,) = self._random.choices(ways, weights=(4, 12, 1, 1, 1, 1, 2))
        return way()

    def _start(self) -> None:
        steps = [
            ProcessStep(
                f"step-{number}",
                timeout_ms=self._random.choice((None, MINUTE_MS)),
                external=self._random.random() < 0.2,
            )
            for number in range(self._random.randint(1, 8))
        ]
        process = builders.new_process(
            self._store,
            *steps,
            aggregate_id=f"aggregate-{self._random.randrange(MANY)}",
            deadline_ms=self._random.choice((None, MINUTE_MS)),
            metadata={"a": [1, "é"]},
        )
        self._tell(process)
        live_id = self._store.create(process)
        if live_id == process.id:
            self._processes.append(process)
        else:
            assert live_id in [each.id for each in self._processes], "a process that is gone holds a business key"

    def _change(self) -> None:
        """One to five changes of different steps at once."""
        chosen = self._random.sample(self._processes, k=min(len(self._processes), self._random.randint(1, 5)))
        changes = [change for process in chosen if (change := self._some_change(process)) is not None]
        self._tell(None)
        for change, outcome in zip(changes, self._store.commit(changes), strict=True):
            assert isinstance(outcome, Committed), outcome
            (process,) = [each for each in chosen if each.id == change.process_id]
            if outcome.step.name == OWN_RECORD:
                process.own = outcome.step
            else:
                process.steps[outcome.step.name] = outcome.step

    def _some_change(self, process: Process) -> Change | None:
        record = self._random.choice([process.own, *process.steps.values()])
        rule = self._some_rule(record)
        if rule is None:
            return None
        transition = rule(record)
        assert len(transition.events) == 1
        has_message = transition.events[0].kind == "step_queued"
        return Change(
            process_id=process.id,
            transition=transition,
            message=self._random.randbytes(200) if has_message else None,
            lease_ms=MINUTE_MS,
        )

    def _some_rule(self, record: ProcessStep) -> Rule | None:
        now_ms = self._store.now_ms()
        if record.name == OWN_RECORD:
            return None if record.deadline_ms is None else (lambda own: mark_overdue(own, now_ms=now_ms))
        rules: list[Rule] = []
        if record.state.is_terminal:
            rules += [lambda step: outcomes.fail(step, "late", run_id="another", now_ms=now_ms)]
        else:
            next_attempt = record.attempt + 1
            rules += [
                builders.start(at_ms=now_ms, attempt=next_attempt),
                builders.start(at_ms=now_ms, attempt=next_attempt, is_leased=True),
                builders.complete(at_ms=now_ms),
                builders.fail(at_ms=now_ms),
                builders.cancel(at_ms=now_ms),
            ]
            if record.task_id is None:
                rules += [builders.queue(at_ms=now_ms)] * 3
        if record.run_id is not None and not record.state.is_terminal:
            rules += [self._release(record, now_ms)]
        if record.state is StepState.FAILED:
            rules += [builders.reopen(at_ms=now_ms)] * 3
        return self._random.choice(rules)

    @staticmethod
    def _release(record: ProcessStep, now_ms: int) -> Callable[[ProcessStep], Transition]:
        return lambda step: runs.release(
            step, attempt=record.attempt, run_id=record.run_id or "", resend_in_ms=1_000, now_ms=now_ms
        )

    def _renew(self) -> None:
        leases = [
            LeaseKey(process.id, step.name, step.attempt)
            for process in self._processes
            for step in process.steps.values()
        ]
        self._tell(None)
        self._store.renew(leases, until_ms=self._store.now_ms() + 2 * MINUTE_MS)

    def _put_off(self) -> None:
        due = self._store.due(now_ms=self._store.now_ms() + 60 * MINUTE_MS, limit=3)
        self._tell(None)
        self._store.discard(due, until_ms=self._store.now_ms() + 90 * MINUTE_MS)

    def _archive(self) -> None:
        finished = self._store.finished(is_archived=False, limit=3)
        self._tell(None)
        self._store.mark_archived(finished)

    def _note(self) -> None:
        self._tell(None)
        self._store.note_check(LastCheck(self._store.now_ms(), "writer", 0))

    def _delete(self) -> None:
        process = self._processes.pop(self._random.randrange(len(self._processes)))
        self._tell(None)
        assert self._store.delete(process.id)
