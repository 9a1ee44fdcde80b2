"""Programs that fork after they have talked to the store, as prefork workers and web servers do."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest
from celery import Celery
from celery.app.amqp import AMQP
from celery.app.events import Events
from kombu import Connection
from kombu.transport.redis import Channel
from kombu.utils.objects import cached_property

from trellis_celery import ProcessHandle, ProcessType, Step, Trellis, process_step

# Other tests may have left threads behind, of which Python 3.12 warns.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

CHILDREN, CHANGES = 4, 25
#: A child that waits for a lock would do so for ever.
LONGEST_S = 20


class Count(ProcessType):
    work = Step(timeout_ms=60_000)


@pytest.fixture
def trellis(redis_url: str) -> Trellis:
    """It is connected."""
    app = Celery("forks", broker="memory://", set_as_current=False)
    app.conf.trellis_url = redis_url
    trellis = Trellis(app)
    assert trellis.list_processes() == []
    return trellis


def connection_of(trellis: Trellis) -> int:
    """What the server calls the connection that is used next."""
    return int(trellis.store.client.client_id())  # type: ignore[attr-defined]


def forked(do: Callable[[], object]) -> int:
    """The id of a child that does that and ends, with 0 if it succeeded."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            do()
            status = 0
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)
    return child


def status_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.fault("A18")
def test_a18_a_child_has_a_connection_of_its_own(trellis: Trellis) -> None:
    connection = connection_of(trellis)

    def look() -> None:
        assert connection_of(trellis) != connection

    assert status_of(forked(look)) == 0
    assert connection_of(trellis) == connection


@pytest.mark.fault("A18")
def test_a18_a_program_and_its_children_that_talk_at_the_same_time_get_their_own_answers(trellis: Trellis) -> None:
    def change(who: str) -> list[ProcessHandle]:
        processes = [
            trellis.start_process(Count, tenant_id=who, aggregate_type="A", aggregate_id=str(number))
            for number in range(CHANGES)
        ]
        for process in processes:
            process.complete_step("work", by=who)
        return processes

    children = [forked(partial(change, f"child {number}")) for number in range(CHILDREN)]
    own = change("parent")

    assert [status_of(child) for child in children] == [0] * CHILDREN
    assert {str(process.refresh().state) for process in own} == {"completed"}
    everything = trellis.list_processes(limit=1_000)
    assert len(everything) == (CHILDREN + 1) * CHANGES
    assert {summary.state for summary in everything} == {"completed"}
    for summary in everything:
        assert trellis.get_process(summary.id).history()[-2].by == summary.key.tenant_id


@contextmanager
def held(locks: list[Any]) -> Iterator[None]:
    """By another thread."""
    are_held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            are_held.set()
            may_end.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    are_held.wait()
    try:
        yield
    finally:
        may_end.set()
        thread.join()


@pytest.mark.fault("A18")
@pytest.mark.parametrize("owner", [Celery, AMQP, Events, Connection, Channel], ids=lambda owner: owner.__name__)
def test_a18_a_child_that_is_forked_while_a_thread_is_inside_kombu_can_send(owner: type, redis_url: str) -> None:
    app = Celery("forks", broker=redis_url, set_as_current=False)
    app.conf.trellis_url = redis_url
    trellis = Trellis(app)

    @process_step(Count.work)
    @app.task(shared=False)
    def work() -> None: ...

    locks = [each.lock for each in vars(owner).values() if isinstance(each, cached_property)]
    assert locks

    def send() -> None:
        with trellis.start_process(Count, tenant_id="t", aggregate_type="A", aggregate_id=owner.__name__):
            work.delay()
        with app.connection_for_write() as connection:
            app.events.Dispatcher(connection, hostname="h").send("of-a-child")

    with held(locks):
        child = forked(send)
        status = status_within(child, LONGEST_S)

    assert status == 0
    (process,) = trellis.list_processes()
    assert trellis.get_process(process.id).steps["work"].task_id is not None


def status_within(child: int, seconds: float) -> int:
    ends_s = time.monotonic() + seconds
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > ends_s:
            os.kill(child, signal.SIGKILL)
            return status_of(child)
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(ended[1])
