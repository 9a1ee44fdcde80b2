"""An app whose health a test can spoil, and what the doctor says of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery

from trellis_celery import ProcessType, Step, Trellis, process_step
from trellis_celery.doctor import Finding, Level, Report, examine
from trellis_celery.doctor.asking import workers
from trellis_celery.ports import ProcessStore


class Examined(ProcessType):
    """A type with nothing wrong about it."""

    work = Step(timeout_ms=30_000, retries_permitted=2)


@contextmanager
def made(
    *, broker: str = "memory://", store: ProcessStore | None = None, task: dict[str, Any] | None = None, **settings: Any
) -> Iterator[Trellis]:
    """A `Trellis` whose only step has a task with these options. Its connections are closed at the end."""
    app = Celery("examined", broker=broker, set_as_current=False)
    app.conf.update(settings)
    trellis = Trellis(app, store=store)

    def body() -> None: ...

    make: Any = app.task
    process_step(Examined.work)(make(name="examined.work", shared=False, **{"time_limit": 40, **(task or {})})(body))
    try:
        yield trellis
    finally:
        close(trellis)


def close(trellis: Trellis) -> None:
    """Let go of the servers that the doctor has asked. Engines are closed by whoever made them."""
    for thing in (trellis._store, *trellis._opened.values()):
        for part in (thing, getattr(thing, "process_repository", None), getattr(thing, "tracker_repository", None)):
            if hasattr(part, "client"):
                part.client.close()
            elif hasattr(part, "calls"):
                part.calls.client.close()
    trellis.app.close()


def seen(trellis: Trellis, *types: type[ProcessType], patience_s: float = 0.1) -> Report:
    """The report of these types, or of ours; `patience_s`: how long workers may take to answer."""
    before_s, workers.PATIENCE_S = workers.PATIENCE_S, patience_s
    try:
        return examine(trellis, types or [Examined])
    finally:
        workers.PATIENCE_S = before_s


def said(trellis: Trellis, check: str, *, patience_s: float = 0.1) -> list[Finding]:
    """All that the doctor says of this check."""
    report = seen(trellis, patience_s=patience_s)
    found = [finding for finding in report.findings if finding.check == check]
    assert found, f"{check} says nothing: {report.unchecked.get(check, 'it has nothing to say')}"
    return found


def level(trellis: Trellis, check: str, *, patience_s: float = 0.1) -> Level:
    """The worst that it says of this check."""
    return said(trellis, check, patience_s=patience_s)[0].level
