"""Programs that fork after they have talked to the store, as prefork workers and web servers do."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import pytest
from celery import Celery

from trellis_celery import ProcessHandle, ProcessType, Step, Trellis

# Other tests may have left threads behind, of which Python 3.12 warns.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

CHILDREN, CHANGES = 4, 25


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
