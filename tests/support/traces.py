"""A tracer whose spans a test can look at."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import SpanContext

from trellis_celery.monitoring.opentelemetry import OpenTelemetryTracer


class Traces:
    """A provider of its own, beside OpenTelemetry's global one, and all the spans that were ended."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = OpenTelemetryTracer(self.provider)
        #: For spans of the team's own.
        self.other = self.provider.get_tracer("tests")

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        """In the order in which they ended."""
        return [span for span in self.spans if span.name == name]

    def only(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span


def span_id(span: ReadableSpan) -> int:
    return _place(span).span_id


def trace_id(span: ReadableSpan) -> int:
    return _place(span).trace_id


def _place(span: ReadableSpan) -> SpanContext:
    place = span.get_span_context()
    assert place is not None
    return place


def parent_id(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def links(span: ReadableSpan) -> list[tuple[object, int]]:
    """Relation and span id of each link."""
    return [((link.attributes or {}).get("trellis.relation"), link.context.span_id) for link in span.links]


def attribute(span: ReadableSpan, name: str) -> object:
    return (span.attributes or {}).get(name)
