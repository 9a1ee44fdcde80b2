"""Tasks that are traced. Each worker appends the spans that it has ended to a file.

The test process only looks on: what it would instrument, it would instrument for every other test.
"""

from __future__ import annotations

import os
import time
from typing import Any
from uuid import uuid4

from celery import chain, signals
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.support.apps.making import make_app
from tests.support.span_file import INSTRUMENTED, SENTRY, SPANS, SpanFile
from trellis_celery import ProcessType, Step, process_step

app, trellis, diary = make_app("tracing", trellis_tracing=True)


@signals.worker_init.connect(weak=False)
def open_provider(sender: Any, **_: Any) -> None:
    """Before the pool is forked: its children use the same file."""
    if sender.app is app:
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(SpanFile(os.environ[SPANS])))
        trace.set_tracer_provider(provider)
        if os.environ.get(SENTRY):
            import sentry_sdk

            sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", traces_sample_rate=1.0)


@signals.worker_process_init.connect(weak=False)
def instrument(**_: Any) -> None:
    if os.environ.get(INSTRUMENTED):
        from opentelemetry.instrumentation.celery import CeleryInstrumentor

        instrumentor: Any = CeleryInstrumentor
        instrumentor().instrument()


class Order(ProcessType):
    charge = Step(timeout_ms=60_000, retries_permitted=2)
    ship = Step(timeout_ms=60_000)


@app.task(name="tracing.kick")
def kick(first: str) -> str:
    """A request that comes in: start an order and send what it takes."""
    with (
        trace.get_tracer("tests").start_as_current_span("POST /orders"),
        trellis.start_process(Order, tenant_id="t", aggregate_type="Order", aggregate_id=uuid4().hex) as process,
    ):
        chain(app.tasks[f"tracing.{first}"].si(), pack.si(), ship.si()).delay()
    return process.id


@process_step(Order.charge)
@app.task(name="tracing.charge")
def charge() -> None:
    """Hang in the first run, after a call that was traced."""
    with trace.get_tracer("tests").start_as_current_span("POST /charges"):
        pass
    if diary.write("charging", os.getpid()) == 1:
        time.sleep(60)


@process_step(Order.charge)
@app.task(name="tracing.flaky", bind=True)
def flaky(self: Any) -> None:
    diary.write("headers", sorted(self.request.headers or {}))
    if self.request.retries == 0:
        raise self.retry(countdown=0)


@app.task(name="tracing.pack")
def pack() -> None:
    """A task that is no step, in the middle of a chain."""


@process_step(Order.ship)
@app.task(name="tracing.ship")
def ship() -> None: ...
