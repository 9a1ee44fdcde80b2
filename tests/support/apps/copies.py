"""Tasks of which several messages are about. A body that is held runs until the test lets it go."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from celery import Task, chain

from tests.support.apps.making import make_app
from tests.support.waiting import eventually
from trellis_celery import ProcessType, Step, errors, process_step

app, trellis, diary = make_app("copies", broker_transport_options={"visibility_timeout": 3600})

#: Set for a worker that is not as the others: it lacks a task, and raises before another.
ODD = "TRELLIS_TEST_ODD_WORKER"
IS_ODD = ODD in os.environ


class Flow(ProcessType):
    before = Step(timeout_ms=60_000, retries_permitted=2)
    work = Step(timeout_ms=60_000, retries_permitted=1)


class Once(ProcessType):
    work = Step(timeout_ms=60_000)


class Impatient(ProcessType):
    """Copies go out as soon as the message has waited for a second."""

    work = Step(queue_timeout_ms=1_000)


class Unlimited(ProcessType):
    work = Step()


def held(name: str) -> None:
    """Write the run down; stay until the test lets go of this name."""
    diary.write(f"ran {name}")
    eventually(lambda: diary.read(f"let go {name}"), within_s=30, what=f"{name} let go")


@process_step(Flow.work)
@process_step(Once.work)
@app.task(name="copies.work")
def work(name: str) -> None:
    held(name)


if not IS_ODD:

    @process_step(Once.work)
    @app.task(name="copies.unknown_to_one")
    def unknown_to_one(name: str) -> None:
        held(name)


@app.task(name="copies.tail")
def tail(name: str) -> None:
    diary.write(f"tail {name}")


class DiesOnce(Task):
    """The child is killed when the chain has gone out and before anybody is told of the success."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        if diary.write(f"succeeded {task_id}") == 1:
            os.kill(os.getpid(), signal.SIGKILL)


@process_step(Flow.before)
@app.task(name="copies.before", base=DiesOnce)
def before(name: str) -> None:
    diary.write(f"before {name}")


class RaisesBefore(Task):
    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        if IS_ODD:
            diary.write(f"raised before {task_id}")
            raise RuntimeError("no tenant here")


@process_step(Once.work)
@app.task(name="copies.with_before_start", base=RaisesBefore)
def with_before_start(name: str) -> None:
    held(name)


class KilledBefore(Task):
    """The odd worker's child is killed before the body, however its run was received."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        if IS_ODD:
            diary.write(f"killed before {task_id}")
            os.kill(os.getpid(), signal.SIGKILL)


@process_step(Once.work)
@app.task(name="copies.with_killed_copy", base=KilledBefore)
def with_killed_copy(name: str) -> None:
    held(name)


@app.task(name="copies.substitute")
def substitute(name: str) -> None:
    diary.write(f"substitute {name}")
    time.sleep(0.3)


@process_step(Impatient.work)
@app.task(name="copies.replaces_itself", bind=True)
def replaces_itself(self: Task, name: str) -> None:
    self.replace(substitute.si(name).set(queue=f"substitutes {name}"))


@process_step(Unlimited.work)
@app.task(name="copies.replaces_itself_by_chain", bind=True)
def replaces_itself_by_chain(self: Task, name: str) -> None:
    self.replace(chain(substitute.si(name).set(queue=f"substitutes {name}"), substitute.si(name)))


@process_step(Once.work)
@app.task(name="copies.retries_later", bind=True)
def retries_later(self: Task, name: str) -> None:
    if diary.write(f"ran {name}") == 1:
        raise self.retry(countdown=3)


@process_step(Once.work)
@app.task(name="copies.retries_while_the_store_is_away", bind=True)
def retries_while_the_store_is_away(self: Task, name: str) -> None:
    if diary.write(f"ran {name}") == 1:
        fail_next_commit(trellis.store)
        raise self.retry(countdown=0)


def fail_next_commit(store: Any) -> None:
    commit = store.commit

    def fail(changes: Any) -> Any:
        store.commit = commit
        diary.write("store away")
        raise errors.StoreUnavailable("away for one call")

    store.commit = fail
