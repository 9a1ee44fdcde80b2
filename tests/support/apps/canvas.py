"""Tasks for chains, groups and chords. Some are slow in their first run, so that their worker can be killed."""

from __future__ import annotations

import time
from typing import Any

from celery import Task, signals
from kombu import Exchange, Queue

from tests.support.apps.making import make_app
from trellis_celery import ProcessType, Step, process_step

app, trellis, diary = make_app(
    "canvas",
    accept_content=["json", "pickle", "msgpack", "yaml"],
    result_accept_content=["json", "pickle", "msgpack", "yaml"],
    task_queue_max_priority=10,
    task_queues=[
        Queue("canvas", Exchange("canvas"), "canvas"),
        Queue("victim", Exchange("canvas"), "victim"),
        Queue("letters", Exchange("post"), "letters.today"),
    ],
    task_default_exchange="canvas",
    task_default_routing_key="canvas",
)


class Flow(ProcessType):
    first = Step(timeout_ms=60_000, retries_permitted=1)
    second = Step(timeout_ms=60_000, retries_permitted=1)
    third = Step(timeout_ms=60_000, retries_permitted=1)
    last = Step(timeout_ms=60_000, retries_permitted=1)
    fails = Step(timeout_ms=60_000, retries_permitted=1)


class Letter(ProcessType):
    """A message that nobody fetches is due at once."""

    post = Step(timeout_ms=60_000, queue_timeout_ms=1)


def slow_at_first(page: str) -> None:
    """Write a run down; the first one then lasts until its worker is killed."""
    if diary.write(page) == 1:
        time.sleep(100)


def write(task: str, flow: str, entry: object = "") -> None:
    diary.write(f"{task} {flow}", entry)


@process_step(Flow.first)
@app.task(name="canvas.first")
def first(value: int, flow: str) -> int:
    write("first", flow, value)
    return value + 1


@process_step(Flow.second)
@app.task(name="canvas.second")
def second(value: int, flow: str) -> int:
    slow_at_first(f"second {flow}")
    return value + 10


@process_step(Flow.third)
@app.task(name="canvas.third")
def third(value: int, flow: str) -> int:
    write("third", flow, value)
    return value + 100


@process_step(Flow.last)
@app.task(name="canvas.last")
def last(value: Any, flow: str) -> Any:
    write("last", flow, value)
    return value


@process_step(Flow.fails)
@app.task(name="canvas.fails")
def fails(flow: str) -> None:
    slow_at_first(f"fails {flow}")
    raise ValueError("no")


@app.task(name="canvas.unbound")
def unbound(value: int, flow: str) -> int:
    write("unbound", flow, value)
    return value


@app.task(name="canvas.spawn")
def spawn(flow: str) -> None:
    unbound.apply_async((7, flow), link=last.s(flow))


@app.task(name="canvas.errback")
def errback(request: Any, error: BaseException, traceback: Any, flow: str) -> None:
    write("errback", flow, error)


@process_step(Letter.post)
@app.task(name="canvas.post", bind=True)
def post(self: Task, *args: Any, **kwargs: Any) -> Any:
    diary.write(f"post {self.request.id}")
    return args


@signals.before_task_publish.connect(weak=False)
def as_sentry_does(headers: dict[str, Any], **_: Any) -> None:
    """Sentry writes its headers twice, into a nested dict as well: https://github.com/getsentry/sentry-python/pull/5566"""
    if headers.get("task") == "canvas.post" and headers.pop("like-sentry", None):
        headers["headers"] = {"sentry-trace": "abc"}
        headers["sentry-trace"] = "abc"
