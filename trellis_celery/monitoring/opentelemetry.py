"""Processes and attempts as spans of OpenTelemetry, whose API is all that is needed here.

One span is made where a process is started, and the process remembers its place in the trace; every attempt of every
step is a child of it. What attempt came before is told by a link. Spans of runs that are gone are made by the check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from celery.exceptions import TaskPredicate
from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from trellis_celery.domain.process import Process
from trellis_celery.logs import EventLogger
from trellis_celery.ports import Attempt, SpanOutcome

logger = EventLogger(__name__)

_ERRORS = frozenset({SpanOutcome.FAILED, SpanOutcome.TIMED_OUT, SpanOutcome.LOST})

_w3c = TraceContextTextMapPropagator()


class OpenTelemetryTracer:
    """A `Tracer`. Without a provider it uses the one that `opentelemetry.trace.set_tracer_provider` gets, now or later.

    The API promises not to raise, but a span processor or a sampler of the team's may.
    """

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("trellis_celery", tracer_provider=provider)

    def start_process(self, start: Callable[[str | None], Process], *, process_type: str) -> Process:
        attributes = _attributes("create", process_type=process_type)
        span = self._begin(f"create {process_type}", SpanKind.PRODUCER, attributes)
        here = _traceparent(span)
        try:
            with trace.use_span(span, record_exception=False):
                process = start(here)
            with _nothing_raised():
                span.set_attribute("trellis.process_id", process.id)
                if process.own.traceparent != here:  # it was there already
                    _link(span, process.own.traceparent, "exists")
            return process
        finally:
            with _nothing_raised():
                span.end()

    def begin_attempt(
        self, attempt: Attempt, *, started_at_ms: int | None = None, stands_for: str | None = None
    ) -> OpenTelemetrySpan:
        traceparent = attempt.process_traceparent or stands_for
        within = context_api.get_current() if traceparent is None else _context(traceparent)
        span = self._begin(
            f"process {attempt.process_type}.{attempt.step_name}",
            SpanKind.CONSUMER,
            _attributes(
                "process",
                process_type=attempt.process_type,
                process_id=attempt.process_id,
                step=attempt.step_name,
                attempt=attempt.number,
                celery_retries=attempt.celery_retries,
                worker=attempt.worker,
                message_id=attempt.task_id,
            ),
            within=within,
            started_at_ms=started_at_ms,
        )
        with _nothing_raised():
            _link(span, stands_for, "stands_for")
        return OpenTelemetrySpan(span, parent=_place(within))

    def _begin(
        self,
        name: str,
        kind: SpanKind,
        attributes: dict[str, AttributeValue],
        *,
        within: Context | None = None,
        started_at_ms: int | None = None,
    ) -> Span:
        with _nothing_raised():
            return self._tracer.start_span(
                name, within, kind, attributes, start_time=None if started_at_ms is None else started_at_ms * 1_000_000
            )
        return trace.INVALID_SPAN


class OpenTelemetrySpan:
    """An `AttemptSpan`."""

    def __init__(self, span: Span, *, parent: SpanContext) -> None:
        self._span = span
        self._parent = parent

    @property
    def traceparent(self) -> str | None:
        return _traceparent(self._span)

    def follow(self, traceparent: str | None, *, attempt: int) -> None:
        with _nothing_raised():
            self._span.set_attribute("trellis.attempt", attempt)
            if traceparent != self.traceparent:
                _link(self._span, traceparent, "follows")

    @contextmanager
    def current(self) -> Iterator[None]:
        with _nothing_raised():
            self._link_to_surroundings()
        with trace.use_span(self._span, record_exception=False, set_status_on_exception=False):
            try:
                yield
            except TaskPredicate:  # how a body tells Celery to retry, ignore or reject
                raise
            except Exception as error:
                with _nothing_raised():
                    self._span.set_attribute("error.type", type(error).__qualname__)
                    self._span.record_exception(error)
                raise

    def _link_to_surroundings(self) -> None:
        """Another instrumentation may have made a span for the task, which is perhaps in another trace."""
        around = trace.get_current_span().get_span_context()
        if around.is_valid and around != self._parent:
            self._span.add_link(around, {"trellis.relation": "within"})

    def end(self, outcome: SpanOutcome, *, error: str = "", at_ms: int | None = None) -> None:
        with _nothing_raised():
            self._span.set_attribute("trellis.outcome", outcome.value)
            if outcome is SpanOutcome.LOST:
                self._span.set_attribute("trellis.lost", True)
            if outcome in _ERRORS:
                self._span.set_status(Status(StatusCode.ERROR, error or outcome.value))
            self._span.end(None if at_ms is None else at_ms * 1_000_000)


@contextmanager
def _nothing_raised() -> Iterator[None]:
    try:
        yield
    except Exception:
        logger.exception("tracing_failed")


def _attributes(
    operation: str, *, message_id: str | None = None, **ours: AttributeValue | None
) -> dict[str, AttributeValue]:
    """Names of OpenTelemetry's conventions for messaging, and our own."""
    attributes: dict[str, AttributeValue | None] = {
        "messaging.system": "celery",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.message.id": message_id,
        **{f"trellis.{name}": value for name, value in ours.items()},
    }
    return {name: value for name, value in attributes.items() if value is not None}


def _context(traceparent: str) -> Context:
    """Empty if this is no place in a trace."""
    return _w3c.extract({"traceparent": traceparent}, context=Context())


def _place(context: Context) -> SpanContext:
    return trace.get_current_span(context).get_span_context()


def _traceparent(span: Span) -> str | None:
    carrier: dict[str, str] = {}
    _w3c.inject(carrier, context=trace.set_span_in_context(span, Context()))
    return carrier.get("traceparent")


def _link(span: Span, traceparent: str | None, relation: str) -> None:
    place = trace.INVALID_SPAN_CONTEXT if traceparent is None else _place(_context(traceparent))
    if place.is_valid:
        span.add_link(place, {"trellis.relation": relation})
