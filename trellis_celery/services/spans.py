"""The spans of attempts that a check ends: their own runs cannot tell any more that they ended, or not yet."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain import timeouts
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.step import OnTimeout, ProcessStep
from trellis_celery.domain.transitions import Transition
from trellis_celery.ports import Attempt, AttemptSpan, Change, Due, ProcessStore, SpanOutcome, StepKey, Tracer


class _Begun(Struct, frozen=True):
    span: AttemptSpan
    outcome: SpanOutcome
    #: The event that tells that the attempt timed out.
    event: Event


class CheckSpans:
    """Begins a span before the claim is written, which remembers its place in the trace, and ends it after that.

    A claim that is lost to another check leaves nothing behind: a span that is not ended is never seen.
    """

    def __init__(self, tracer: Tracer | None, store: ProcessStore) -> None:
        self._tracer = tracer
        self._store = store
        self._begun: dict[StepKey, _Begun] = {}

    def begin(self, due: Due, record: ProcessStep, transition: Transition) -> Transition:
        """The transition to write. Raises StoreUnavailable."""
        if self._tracer is None or record.traceparent is None or record.run_id is None:
            return transition
        event = next((event for event in transition.events if event.kind is EventKind.STEP_TIMED_OUT), None)
        if event is None:
            return transition
        is_lost = timeouts.is_lost(
            record, now_ms=event.occurred_at_ms, lapsed_attempt=due.lapsed_attempt, lapsed_ms=due.since_ms
        )
        if record.on_timeout is OnTimeout.ALERT and not is_lost:  # the run goes on, and may end
            return transition
        try:
            process = self._store.load(due.key.process_id)
        except errors.StoreUnavailable:
            raise
        except (errors.ProcessNotFound, errors.StoreError):
            return transition
        attempt = Attempt(
            process_id=process.id,
            process_type=process.process_type,
            step_name=record.name,
            number=record.attempt,
            celery_retries=record.celery_retries,
            task_id=record.task_id,
            worker=record.worker,
            process_traceparent=process.own.traceparent,
        )
        span = self._tracer.begin_attempt(attempt, started_at_ms=record.started_at_ms, stands_for=record.traceparent)
        self._begun[due.key] = _Begun(span, SpanOutcome.LOST if is_lost else SpanOutcome.TIMED_OUT, event)
        after = replace(transition.after, traceparent=span.traceparent)
        return Transition(transition.before, after, transition.events, transition.verdict)

    def end(self, change: Change) -> None:
        """The claim was written."""
        begun = self._begun.pop(change.key, None)
        if begun is not None:
            begun.span.end(begun.outcome, error=begun.event.detail, at_ms=begun.event.occurred_at_ms)
