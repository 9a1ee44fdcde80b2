"""Spans that several processes append to one file, of which any may be killed at any time."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

#: What a worker is told: where its spans go, and what else is to look at its tasks.
SPANS, INSTRUMENTED, SENTRY = "TRELLIS_TEST_SPANS", "TRELLIS_TEST_INSTRUMENTED", "TRELLIS_TEST_SENTRY"


class SpanFile(SpanExporter):
    """Writes each span in one go, on a line of its own."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            os.write(self._file, span.to_json(indent=None).encode() + b"\n")
        return SpanExportResult.SUCCESS


@dataclass(frozen=True)
class WrittenSpan:
    """A span that was read back."""

    name: str
    trace_id: str
    id: str
    parent_id: str | None
    #: Relation and span id.
    links: list[tuple[str | None, str]]
    attributes: dict[str, Any]
    status: str
    started_at: datetime
    seconds: float

    @property
    def outcome(self) -> Any:
        return self.attributes.get("trellis.outcome")


def read_spans(path: Path) -> list[WrittenSpan]:
    """All the spans, in the order in which they started."""
    lines = path.read_text().splitlines() if path.exists() else []
    return sorted((_read(json.loads(line)) for line in lines), key=lambda span: span.started_at)


def _read(span: dict[str, Any]) -> WrittenSpan:
    started, ended = (datetime.fromisoformat(span[name]) for name in ("start_time", "end_time"))
    return WrittenSpan(
        name=span["name"],
        trace_id=span["context"]["trace_id"],
        id=span["context"]["span_id"],
        parent_id=span["parent_id"],
        links=[(link["attributes"].get("trellis.relation"), link["context"]["span_id"]) for link in span["links"]],
        attributes=span["attributes"],
        status=span["status"]["status_code"],
        started_at=started,
        seconds=(ended - started).total_seconds(),
    )
