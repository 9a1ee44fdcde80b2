"""The tables of events and of spans are an API: they say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.traces import Traces
from trellis_celery import EventKind, Process, ProcessStep
from trellis_celery.plugin.exchange import EventMessage
from trellis_celery.ports import Attempt, SpanOutcome

ROOT = Path(__file__).parents[2]

AN_ATTEMPT = Attempt(
    process_id="3-abc",
    process_type="Intake",
    step_name="check",
    number=1,
    celery_retries=0,
    task_id="task-1",
    worker="worker@here",
    process_traceparent=None,
)


def _start(traceparent: str | None) -> Process:
    return Process.start(
        tenant_id="t",
        process_type="Intake",
        aggregate_type="Referral",
        aggregate_id="1",
        steps=[ProcessStep("check")],
        traceparent=traceparent,
    )


def _first_column(page: str, heading: str) -> list[str]:
    """The names in the table that is the first under a heading."""
    text = (ROOT / page).read_text()
    section = text[text.index(f"\n## {heading}\n") :]
    _, _, *rows = section[section.index("\n|") + 1 :].partition("\n\n")[0].splitlines()
    return [re.findall(r"`([\w.]+)`", row)[0] for row in rows]


def test_the_page_of_events_lists_every_kind_once() -> None:
    listed = _first_column("docs/howto/events.md", "The events")

    assert sorted(listed) == sorted(kind.value for kind in EventKind)


def test_the_page_of_tracing_lists_every_outcome_and_whether_it_is_an_error() -> None:
    text = (ROOT / "docs/howto/tracing.md").read_text()
    is_error = {}
    for name in _first_column("docs/howto/tracing.md", "Outcomes"):
        traces = Traces()
        traces.tracer.begin_attempt(AN_ATTEMPT).end(SpanOutcome(name))
        is_error[name] = not traces.spans[0].status.is_ok

    listed = dict(re.findall(r"^\| `(\w+)` \| (error)? *\|", text, re.MULTILINE))

    assert set(is_error) == {outcome.value for outcome in SpanOutcome}
    assert {name: bool(listed[name]) for name in is_error} == is_error


def test_the_page_of_tracing_lists_every_attribute() -> None:
    traces = Traces()
    traces.tracer.start_process(_start, process_type="Intake")
    span = traces.tracer.begin_attempt(AN_ATTEMPT)
    with pytest.raises(ValueError, match="no"), span.current():
        raise ValueError("no")
    span.end(SpanOutcome.LOST)

    found = {name for span in traces.spans for name in span.attributes or {}}

    assert set(_first_column("docs/howto/tracing.md", "What is a span")) == found


def test_the_page_of_tracing_lists_every_link() -> None:
    source = (ROOT / "trellis_celery/monitoring/opentelemetry.py").read_text()
    relations = re.findall(r'_link\(.+, "(\w+)"\)|"trellis.relation": "(\w+)"', source)

    assert sorted(_first_column("docs/howto/tracing.md", "Links")) == sorted(
        name for pair in relations for name in pair if name
    )


def test_the_page_of_events_lists_every_field_of_a_message() -> None:
    text = (ROOT / "docs/howto/events.md").read_text()
    table = text[text.index("\n| field | |\n") :].partition("\n\n")[0]
    listed = [name for row in table.splitlines()[3:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]

    assert sorted(listed) == sorted(EventMessage.__struct_fields__)
