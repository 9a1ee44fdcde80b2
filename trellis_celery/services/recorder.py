"""Decide and commit: the one way in which a step's record is ever changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trellis_celery import errors
from trellis_celery.domain.events import Event
from trellis_celery.domain.process import process_event
from trellis_celery.domain.step import ProcessStep
from trellis_celery.domain.transitions import Rule, Transition
from trellis_celery.logs import EventLogger
from trellis_celery.ports import Change, Committed, Conflict, EventSink, ProcessStore, StepKey

logger = EventLogger(__name__)

#: Each conflict means that somebody else got on; this many in a row on one step do not happen.
MAX_TRIES = 50


class Recorder:
    """Applies rules to the stored records of steps, and tells the sinks what happened.

    `announces`: what is written also waits in the store for being relayed to other services, see `ports.Outbox`.
    """

    def __init__(self, store: ProcessStore, *, sinks: Sequence[EventSink] = (), announces: bool = False) -> None:
        self.store = store
        self._sinks = tuple(sinks)
        self._announces = announces

    def apply(
        self,
        key: StepKey,
        rule: Rule,
        *,
        guess: ProcessStep | None = None,
        message: bytes | None = None,
        lease_ms: int = 0,
    ) -> Transition:
        """Change one step by a rule; return what was written, `after` with its version.

        `guess`: what the record probably is, which saves reading it. A wrong guess costs one more round trip and
        nothing else; only a rule that changes nothing is taken at its word on the guess. Raises StepNotFound,
        StoreError, and what the rule raises of the record as it is stored.
        """
        is_guess = guess is not None
        step = self._load(key) if guess is None else guess
        for _ in range(MAX_TRIES):
            try:
                transition = rule(step, now_ms=self.store.now_ms())
            except errors.InvalidTransition:
                if not is_guess:
                    raise
                is_guess, step = False, self._load(key)
                continue
            if not transition.is_change:
                return transition
            change = self.change(key.process_id, transition, message=message, lease_ms=lease_ms)
            outcome = self.commit([change])[0]
            if isinstance(outcome, Committed):
                return Transition(step, outcome.step, transition.events, transition.verdict)
            if isinstance(outcome, Exception):
                raise outcome
            if outcome.current is None:
                raise errors.StepNotFound(process_id=key.process_id, step=key.step_name)
            step = outcome.current
        raise errors.StoreError(
            f"step {key.step_name!r} of process {key.process_id} changed {MAX_TRIES} times meanwhile"
        )

    def change(self, process_id: str, transition: Transition, **details: Any) -> Change:
        """A change as `commit` takes it."""
        return Change(process_id=process_id, transition=transition, is_announced=self._announces, **details)

    def commit(self, changes: Sequence[Change]) -> list[Committed | Conflict | Exception]:
        """Write independent changes in one go, and tell the sinks about those that were written."""
        outcomes = self.store.commit(changes) if changes else []
        for change, outcome in zip(changes, outcomes, strict=True):
            if isinstance(outcome, Committed):
                self._tell(change, outcome)
        return outcomes

    def _load(self, key: StepKey) -> ProcessStep:
        (step,) = self.store.load_steps([key])
        if isinstance(step, Exception):
            raise step
        if step is None:
            raise errors.StepNotFound(process_id=key.process_id, step=key.step_name)
        return step

    def _tell(self, change: Change, outcome: Committed) -> None:
        if not self._sinks:
            return
        events: list[Event] = list(change.transition.events)
        finished = process_event(outcome.state_before, outcome.state_after, change.occurred_at_ms)
        if finished is not None:
            events.append(finished)
        self.tell(change.process_id, *events)

    def tell(self, process_id: str, *events: Event) -> None:
        """Tell the sinks about events that were written. One that raises stops nothing: what it is told of is done."""
        for event in events:
            for sink in self._sinks:
                try:
                    sink.emit(process_id, event)
                except Exception:
                    logger.exception("sink_failed", extra={"process_id": process_id, "told": event.kind.value})
