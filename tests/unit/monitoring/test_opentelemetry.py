from __future__ import annotations

from typing import Any

import pytest
from celery.exceptions import Ignore, Retry
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, StatusCode

from tests.support.traces import Traces, attribute, links, parent_id, span_id, trace_id
from trellis_celery import errors
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.monitoring.opentelemetry import OpenTelemetryTracer
from trellis_celery.ports import Attempt, SpanOutcome, Tracer

ATTEMPT = "process Intake.check"


@pytest.fixture
def traces() -> Traces:
    return Traces()


def new_process(traceparent: str | None = None) -> Process:
    return Process.start(
        tenant_id="t",
        process_type="Intake",
        aggregate_type="Referral",
        aggregate_id="secret-4711",
        steps=[ProcessStep("check")],
        traceparent=traceparent,
        now_ms=1,
    )


def an_attempt(traceparent: str | None = None, number: int = 1) -> Attempt:
    return Attempt(
        process_id="3-abc",
        process_type="Intake",
        step_name="check",
        number=number,
        celery_retries=0,
        task_id="task-1",
        worker="worker@here",
        process_traceparent=traceparent,
    )


class TestStart:
    def test_a_process_remembers_a_span_within_the_trace_that_started_it(self, traces: Traces) -> None:
        with traces.other.start_as_current_span("POST /referrals"):
            process = traces.tracer.start_process(new_process, process_type="Intake")

        request, created = traces.only("POST /referrals"), traces.only("create Intake")
        assert (parent_id(created), created.kind) == (span_id(request), SpanKind.PRODUCER)
        assert attribute(created, "trellis.process_id") == process.id
        assert process.own.traceparent is not None
        assert process.own.traceparent.startswith(f"00-{trace_id(request):032x}-{span_id(created):016x}-")

    def test_starting_a_process_outside_of_any_trace_begins_one(self, traces: Traces) -> None:
        process = traces.tracer.start_process(new_process, process_type="Intake")

        created = traces.only("create Intake")
        assert created.parent is None
        assert process.own.traceparent is not None
        assert f"{trace_id(created):032x}" in process.own.traceparent

    def test_a_process_that_was_there_already_is_linked_to_what_started_it(self, traces: Traces) -> None:
        existing = traces.tracer.start_process(new_process, process_type="Intake")

        traces.tracer.start_process(lambda _: existing, process_type="Intake")

        first, second = traces.named("create Intake")
        assert links(second) == [("exists", span_id(first))]
        assert links(first) == []

    def test_what_the_store_does_at_the_start_is_a_part_of_the_span(self, traces: Traces) -> None:
        def start(traceparent: str | None) -> Process:
            traces.other.start_span("EVALSHA").end()
            return new_process(traceparent)

        traces.tracer.start_process(start, process_type="Intake")

        assert parent_id(traces.only("EVALSHA")) == span_id(traces.only("create Intake"))

    def test_an_error_at_the_start_is_raised_and_marks_the_span(self, traces: Traces) -> None:
        def start(_: str | None) -> Process:
            raise errors.StoreUnavailable("gone")

        with pytest.raises(errors.StoreUnavailable):
            traces.tracer.start_process(start, process_type="Intake")

        assert traces.only("create Intake").status.status_code is StatusCode.ERROR

    def test_business_keys_stay_out_of_traces(self, traces: Traces) -> None:
        traces.tracer.start_process(new_process, process_type="Intake")

        assert "secret-4711" not in traces.only("create Intake").to_json()


class TestAttempts:
    def test_an_attempt_is_a_child_of_what_started_its_process(self, traces: Traces) -> None:
        process = traces.tracer.start_process(new_process, process_type="Intake")

        traces.tracer.begin_attempt(an_attempt(process.own.traceparent)).end(SpanOutcome.COMPLETED)

        created, span = traces.only("create Intake"), traces.only(ATTEMPT)
        assert (trace_id(span), parent_id(span)) == (trace_id(created), span_id(created))
        assert (span.kind, span.status.status_code) == (SpanKind.CONSUMER, StatusCode.UNSET)
        assert dict(span.attributes or {}) == {
            "messaging.system": "celery",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.message.id": "task-1",
            "trellis.process_id": "3-abc",
            "trellis.process_type": "Intake",
            "trellis.step": "check",
            "trellis.attempt": 1,
            "trellis.celery_retries": 0,
            "trellis.worker": "worker@here",
            "trellis.outcome": "completed",
        }

    def test_the_parent_is_what_started_the_process_whatever_else_is_current(self, traces: Traces) -> None:
        process = traces.tracer.start_process(new_process, process_type="Intake")

        with traces.other.start_as_current_span("run/check"):
            span = traces.tracer.begin_attempt(an_attempt(process.own.traceparent))
            with span.current():
                pass
            span.end(SpanOutcome.COMPLETED)

        found = traces.only(ATTEMPT)
        assert parent_id(found) == span_id(traces.only("create Intake"))
        assert links(found) == [("within", span_id(traces.only("run/check")))]

    def test_where_its_process_was_not_traced_the_parent_is_what_is_current(self, traces: Traces) -> None:
        with traces.other.start_as_current_span("run/check"):
            span = traces.tracer.begin_attempt(an_attempt())
            with span.current():
                pass
            span.end(SpanOutcome.COMPLETED)

        assert parent_id(traces.only(ATTEMPT)) == span_id(traces.only("run/check"))
        assert links(traces.only(ATTEMPT)) == []

    def test_an_attempt_is_linked_to_the_one_before(self, traces: Traces) -> None:
        first = traces.tracer.begin_attempt(an_attempt())
        first.follow(None, attempt=1)
        first.end(SpanOutcome.LATE)
        second = traces.tracer.begin_attempt(an_attempt())
        second.follow(first.traceparent, attempt=2)
        second.end(SpanOutcome.COMPLETED)

        earlier, later = traces.named(ATTEMPT)
        assert links(earlier) == []
        assert links(later) == [("follows", span_id(earlier))]
        assert (attribute(earlier, "trellis.attempt"), attribute(later, "trellis.attempt")) == (1, 2)

    def test_a_run_that_asks_to_start_twice_does_not_follow_itself(self, traces: Traces) -> None:
        span = traces.tracer.begin_attempt(an_attempt())

        span.follow(span.traceparent, attempt=1)
        span.end(SpanOutcome.COMPLETED)

        assert links(traces.only(ATTEMPT)) == []

    def test_a_span_in_the_place_of_another_has_its_times_its_trace_and_a_link(self, traces: Traces) -> None:
        lost = traces.tracer.begin_attempt(an_attempt())

        instead = traces.tracer.begin_attempt(an_attempt(), started_at_ms=1_000, stands_for=lost.traceparent)
        instead.end(SpanOutcome.LOST, error="worker lost", at_ms=4_500)

        span = traces.only(ATTEMPT)
        assert (span.start_time, span.end_time) == (1_000_000_000, 4_500_000_000)
        assert lost.traceparent is not None
        assert f"{trace_id(span):032x}" in lost.traceparent
        assert [relation for relation, _ in links(span)] == ["stands_for"]
        assert attribute(span, "trellis.lost") is True

    def test_a_span_that_is_never_ended_is_never_seen(self, traces: Traces) -> None:
        traces.tracer.begin_attempt(an_attempt()).follow(None, attempt=1)

        assert traces.spans == ()

    @pytest.mark.parametrize("outcome", SpanOutcome)
    def test_only_failures_and_what_the_check_ended_are_errors(self, traces: Traces, outcome: SpanOutcome) -> None:
        traces.tracer.begin_attempt(an_attempt()).end(outcome, error="why")

        span = traces.only(ATTEMPT)
        is_error = outcome in (SpanOutcome.FAILED, SpanOutcome.TIMED_OUT, SpanOutcome.LOST)
        assert (span.status.status_code, span.status.description) == (
            (StatusCode.ERROR, "why") if is_error else (StatusCode.UNSET, None)
        )
        assert attribute(span, "trellis.outcome") == outcome.value


class TestBody:
    def test_spans_that_the_body_makes_are_children_of_the_attempt(self, traces: Traces) -> None:
        span = traces.tracer.begin_attempt(an_attempt())

        with span.current():
            traces.other.start_span("SELECT").end()
        traces.other.start_span("after").end()
        span.end(SpanOutcome.COMPLETED)

        assert parent_id(traces.only("SELECT")) == span_id(traces.only(ATTEMPT))
        assert traces.only("after").parent is None

    def test_what_the_body_raises_goes_on_and_is_noted(self, traces: Traces) -> None:
        span = traces.tracer.begin_attempt(an_attempt())

        with pytest.raises(ValueError, match="no"), span.current():
            raise ValueError("no")
        span.end(SpanOutcome.FAILED, error="ValueError: no")

        found = traces.only(ATTEMPT)
        assert attribute(found, "error.type") == "ValueError"
        assert [event.name for event in found.events] == ["exception"]

    @pytest.mark.parametrize("told", [Retry(), Ignore()])
    def test_what_the_body_tells_celery_by_raising_is_no_error(self, traces: Traces, told: Exception) -> None:
        span = traces.tracer.begin_attempt(an_attempt())

        with pytest.raises(type(told)), span.current():
            raise told
        span.end(SpanOutcome.RETRYING)

        found = traces.only(ATTEMPT)
        assert (found.events, found.status.status_code) == ((), StatusCode.UNSET)


class TestWhatComesFromElsewhere:
    @pytest.mark.parametrize(
        "forged",
        [
            "",
            "00",
            "garbage",
            "00-" + "0" * 32 + "-" + "1" * 16 + "-01",
            "00-" + "g" * 32 + "-" + "1" * 16 + "-01",
            "ff-" + "1" * 32 + "-" + "1" * 16 + "-01",
            "00-" + "1" * 32 + "-" + "1" * 16 + "-01-more",
            "00-" + "1" * 32 + "-" + "1" * 16,
            "\x1b[31m\r\nX: y",
            "é" * 100,
            "1" * 10_000,
        ],
    )
    def test_a_place_in_a_trace_that_makes_no_sense_is_as_good_as_none(self, traces: Traces, forged: str) -> None:
        span = traces.tracer.begin_attempt(an_attempt(forged), stands_for=forged)
        span.follow(forged, attempt=1)
        with span.current():
            pass
        span.end(SpanOutcome.COMPLETED)

        found = traces.only(ATTEMPT)
        assert found.parent is None
        assert list(found.links) == []

    def test_a_trace_that_is_not_sampled_stays_so_in_the_worker(self) -> None:
        web, worker = Traces(ALWAYS_OFF), Traces(ParentBased(ALWAYS_OFF))
        process = web.tracer.start_process(new_process, process_type="Intake")
        assert process.own.traceparent is not None

        span = worker.tracer.begin_attempt(an_attempt(process.own.traceparent))
        span.end(SpanOutcome.COMPLETED)

        assert span.traceparent is not None
        assert span.traceparent[:36] == process.own.traceparent[:36]
        assert worker.spans == ()


class _Broken(SpanProcessor):
    def on_start(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("on start")

    def on_end(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("on end")


def use(tracer: Tracer) -> Process:
    """All that is done to a tracer in the life of a process."""
    process = tracer.start_process(new_process, process_type="Intake")
    span = tracer.begin_attempt(an_attempt(process.own.traceparent))
    span.follow("00-" + "1" * 32 + "-" + "1" * 16 + "-01", attempt=1)
    with span.current():
        pass
    span.end(SpanOutcome.COMPLETED)
    return process


def test_a_processor_that_raises_stops_nothing(traces: Traces, caplog: pytest.LogCaptureFixture) -> None:
    traces.provider.add_span_processor(_Broken())

    process = use(traces.tracer)

    assert process.key.process_type == "Intake"
    assert "tracing_failed" in caplog.text


def test_without_an_sdk_nothing_is_recorded_and_nothing_raised() -> None:
    tracer = OpenTelemetryTracer(trace.NoOpTracerProvider())

    assert use(tracer).own.traceparent is None
