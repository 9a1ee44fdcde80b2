"""Spans of tasks that run where they are sent, and what their messages carry."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from celery import Celery, signals
from celery.exceptions import Ignore, Reject

from tests.support.traces import Traces, attribute, links, parent_id, span_id, trace_id
from trellis_celery import ProcessHandle, ProcessType, Step, Trellis, errors, process_step
from trellis_celery.monitoring.opentelemetry import OpenTelemetryTracer
from trellis_celery.plugin.headers import Header, read


class Intake(ProcessType):
    check = Step(timeout_ms=60_000)
    file = Step()


CREATED, CHECK = "create Intake", "process Intake.check"


def make(*, is_traced: bool = True) -> Trellis:
    app = Celery("traced", broker="memory://", set_as_current=False)
    app.conf.update(trellis_url="memory://", trellis_tracing=is_traced, task_always_eager=True)
    return Trellis(app)


@pytest.fixture
def traces() -> Traces:
    return Traces()


@pytest.fixture
def trellis(traces: Traces) -> Trellis:
    trellis = make()
    trellis.tracer = traces.tracer
    return trellis


def start(trellis: Trellis) -> ProcessHandle:
    return trellis.start_process(Intake, tenant_id="t", aggregate_type="Referral", aggregate_id="1")


def bind(trellis: Trellis, body: Any, *, step: Step = Intake.check, **options: Any) -> Any:
    body.__name__ = step.name  # Celery compiles it, and cannot compile that of a lambda
    app: Any = trellis.app
    return process_step(step)(app.task(**options, shared=False, name=step.name)(body))


def test_a_process_of_two_steps_is_one_trace(trellis: Trellis, traces: Traces) -> None:
    check, file = bind(trellis, lambda: None), bind(trellis, lambda: None, step=Intake.file)

    with traces.other.start_as_current_span("POST /referrals"), start(trellis):
        check.delay()
        file.delay()

    assert {trace_id(span) for span in traces.spans} == {trace_id(traces.only("POST /referrals"))}
    created = traces.only(CREATED)
    assert parent_id(created) == span_id(traces.only("POST /referrals"))
    for name in (CHECK, "process Intake.file"):
        assert parent_id(traces.only(name)) == span_id(created)
        assert attribute(traces.only(name), "trellis.outcome") == "completed"


def test_what_is_sent_in_a_process_that_was_fetched_later_is_in_the_trace_that_started_it(
    trellis: Trellis, traces: Traces
) -> None:
    check = bind(trellis, lambda: None)
    process = start(trellis)

    with traces.other.start_as_current_span("POST /again"), trellis.get_process(process.id):
        check.delay()

    assert parent_id(traces.only(CHECK)) == span_id(traces.only(CREATED))
    assert links(traces.only(CHECK)) == [("within", span_id(traces.only("POST /again")))]


def test_spans_of_the_body_are_children_of_the_attempt(trellis: Trellis, traces: Traces) -> None:
    check = bind(trellis, lambda: traces.other.start_span("SELECT").end())

    with start(trellis):
        check.delay()

    assert parent_id(traces.only("SELECT")) == span_id(traces.only(CHECK))


def test_a_task_outside_of_any_process_has_no_span(trellis: Trellis, traces: Traces) -> None:
    bind(trellis, lambda: None).delay()

    assert traces.spans == ()


def test_a_body_that_raises_fails_its_span(trellis: Trellis, traces: Traces) -> None:
    def body() -> None:
        raise ValueError("no")

    task = bind(trellis, body)
    with start(trellis):
        task.delay()

    span = traces.only(CHECK)
    assert (attribute(span, "trellis.outcome"), attribute(span, "error.type")) == ("failed", "ValueError")
    assert span.status.description == "ValueError: no"


@pytest.mark.parametrize(
    ("told", "outcome"),
    [(Ignore(), "cancelled"), (Reject("no", requeue=True), "released"), (Reject("no", requeue=False), "failed")],
)
def test_what_a_body_tells_celery_is_the_outcome_of_its_span(
    trellis: Trellis, traces: Traces, told: Exception, outcome: str
) -> None:
    def body() -> None:
        raise told

    task = bind(trellis, body)
    with start(trellis):
        task.delay()

    assert attribute(traces.only(CHECK), "trellis.outcome") == outcome


def test_each_of_celerys_own_retries_has_a_span_in_the_same_attempt_that_follows_the_one_before(
    trellis: Trellis, traces: Traces
) -> None:
    def body(self: Any) -> None:
        if self.request.retries < 2:
            raise self.retry(countdown=0, max_retries=2)

    task = bind(trellis, body, bind=True)
    with start(trellis):
        task.delay()

    spans = sorted(traces.named(CHECK), key=lambda span: str(attribute(span, "trellis.celery_retries")))
    assert [attribute(span, "trellis.outcome") for span in spans] == ["retrying", "retrying", "completed"]
    assert {attribute(span, "trellis.attempt") for span in spans} == {1}
    assert [("follows", span_id(span)) for span in spans[:2]] == [links(span)[0] for span in spans[1:]]


def test_a_run_that_is_not_allowed_to_start_has_no_span(trellis: Trellis, traces: Traces) -> None:
    check = bind(trellis, lambda: None)
    with start(trellis) as process:
        process.complete_step("check")
        check.delay()

    assert traces.named(CHECK) == []


def test_an_attempt_that_ends_after_somebody_else_has_finished_the_step_is_late(
    trellis: Trellis, traces: Traces
) -> None:
    process = start(trellis)

    def body() -> None:
        trellis.get_process(process.id).complete_step("check")

    task = bind(trellis, body)
    with process:
        task.delay()

    assert attribute(traces.only(CHECK), "trellis.outcome") == "late"


def test_the_attempt_after_a_reopened_step_follows_the_one_that_failed(trellis: Trellis, traces: Traces) -> None:
    results = iter([ValueError("no"), None])

    def body() -> None:
        if (error := next(results)) is not None:
            raise error

    check = bind(trellis, body)
    with start(trellis) as process:
        check.delay()
    process.refresh().retry_step("check")
    with process:
        check.delay()

    first, second = traces.named(CHECK)
    assert links(second) == [("follows", span_id(first))]
    assert (attribute(second, "trellis.attempt"), attribute(second, "trellis.outcome")) == (2, "completed")


def test_a_run_that_may_not_finish_any_more_is_late(trellis: Trellis, traces: Traces) -> None:
    process = start(trellis)
    runs: list[int] = []

    def body() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise ValueError("no")
        trellis.get_process(process.id).complete_step("check")

    check = bind(trellis, body)
    with process:
        check.delay()
    process.refresh().retry_step("check")
    with process:
        result = check.delay()

    assert result.state == "IGNORED"
    assert [attribute(span, "trellis.outcome") for span in traces.named(CHECK)] == ["failed", "late"]


def test_a_run_that_is_ended_from_outside_gets_one_span_and_that_from_the_check(
    trellis: Trellis, traces: Traces
) -> None:
    def body() -> None:
        raise SystemExit

    check = bind(trellis, body)
    with start(trellis), pytest.raises(SystemExit):
        check.delay()

    assert traces.named(CHECK) == []
    trellis.timeouts.check_for_timed_out_steps()
    assert attribute(traces.only(CHECK), "trellis.outcome") == "lost"


def test_a_span_is_ended_with_what_the_body_came_to_when_the_store_is_down(trellis: Trellis, traces: Traces) -> None:
    store = trellis.store

    def body() -> None:
        store.commit = unavailable  # type: ignore[method-assign,assignment]

    def unavailable(_: Any) -> Any:
        raise errors.StoreUnavailable("gone")

    task = bind(trellis, body)
    with start(trellis):
        task.delay()

    assert attribute(traces.only(CHECK), "trellis.outcome") == "completed"


def helper_of(trellis: Trellis) -> Any:
    @trellis.app.task(shared=False, name="helper")
    def helper() -> None: ...

    return helper


def sent_headers(trellis: Trellis, task: Any, process: ProcessHandle, **options: Any) -> Header:
    """The header of a message that a task sends within a process."""
    sent: list[Header | None] = []

    def note(headers: dict[str, Any], **_: Any) -> None:
        sent.append(read(headers))

    signals.after_task_publish.connect(note, sender=task.name)
    trellis.app.conf.task_always_eager = False
    with process:
        task.apply_async(**options)
    (header,) = sent
    assert header is not None
    return header


@pytest.mark.parametrize("options", [{}, {"headers": {"headers": {"sentry-trace": "x"}}}])
@pytest.mark.parametrize("is_bound", [True, False])
def test_a_message_carries_what_started_its_process(
    trellis: Trellis, traces: Traces, options: dict[str, Any], is_bound: bool
) -> None:
    task = bind(trellis, lambda: None) if is_bound else helper_of(trellis)

    header = sent_headers(trellis, task, start(trellis), **options)

    assert header.traceparent is not None
    assert f"{span_id(traces.only(CREATED)):016x}" in header.traceparent
    assert (header.step_name == "check") is is_bound


def test_nothing_is_written_into_messages_and_records_when_tracing_is_off() -> None:
    trellis = make(is_traced=False)
    process = start(trellis)

    header = sent_headers(trellis, bind(trellis, lambda: None), process)

    assert "trace" not in header.to_wire()
    assert process.process.own.traceparent is None
    assert trellis.tracer is None


def test_the_setting_alone_makes_a_tracer() -> None:
    assert isinstance(make().tracer, OpenTelemetryTracer)


WITHOUT_OPENTELEMETRY = """
import sys
sys.modules["opentelemetry"] = None  # as if it were not installed
from celery import Celery
from trellis_celery import ProcessType, Step, Trellis, errors

class Intake(ProcessType):
    check = Step()

for is_traced in (False, True):
    app = Celery(broker="memory://")
    app.conf.update(trellis_url="memory://", trellis_tracing=is_traced)
    try:
        Trellis(app).start_process(Intake, tenant_id="t", aggregate_type="A", aggregate_id="1")
        print("started")
    except errors.ConfigurationError as error:
        print(error)
"""


def test_without_opentelemetry_everything_works_until_the_setting_asks_for_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_OPENTELEMETRY], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.splitlines() == [
        "started",
        "trellis_tracing needs opentelemetry-api: pip install 'trellis-celery[otel]'",
    ]


def test_opentelemetry_is_not_imported_unless_it_is_asked_for() -> None:
    program = "import sys, trellis_celery; print([name for name in sys.modules if 'opentelemetry' in name])"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.strip() == "[]"
