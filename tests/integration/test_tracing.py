"""The trace of a process whose tasks run, fail, wait and are lost in real workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.span_file import INSTRUMENTED, SENTRY, SPANS, WrittenSpan, read_spans
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

CREATED, CHARGE, SHIP = "create Order", "process Order.charge", "process Order.ship"


class Traced:
    """Workers of one test, and the spans that they have written."""

    def __init__(self, cluster: Cluster, path: Path) -> None:
        self.cluster = cluster
        self.path = path

    def worker(self, name: str, *, pool: str = "prefork", **env: str) -> None:
        self.cluster.worker(name=name, pool=pool, env={SPANS: str(self.path), **env})

    def kick(self, first: str) -> str:
        """Have a worker start an order whose charge is done by the task of this name; return its process id."""
        process_id: str = self.cluster.module.kick.delay(first).get(timeout=20)
        return process_id

    def wait_for_the_end(self, process_id: str) -> None:
        get_process = self.cluster.trellis.processes.get_process
        eventually(lambda: get_process(process_id).state.is_terminal, within_s=40, what="the order finished")
        assert get_process(process_id).is_completed()
        eventually(lambda: self.named(SHIP), what="the last span written")

    def named(self, name: str) -> list[WrittenSpan]:
        return [span for span in read_spans(self.path) if span.name == name]

    def wait_for(self, name: str, span_id: str) -> WrittenSpan:
        """The span, once it is written: one that has others in it ends after them."""
        (span,) = eventually(lambda: [span for span in self.named(name) if span.id == span_id], what=f"{name} written")
        return span

    def only(self, name: str) -> WrittenSpan:
        (span,) = self.named(name)
        return span


@pytest.fixture
def traced(start_cluster: Callable[..., Cluster], tmp_path: Path) -> Iterator[Traced]:
    cluster = start_cluster("tests.support.apps.tracing")
    yield Traced(cluster, tmp_path / "spans.jsonl")
    cluster.close()


def test_an_attempt_whose_worker_was_killed_is_in_the_trace_and_the_next_one_follows_it(traced: Traced) -> None:
    traced.worker("first")
    process_id = traced.kick("charge")
    traced.cluster.diary.wait_for("charging")
    (first,) = traced.cluster.programs

    first.kill()
    traced.worker("second")
    traced.wait_for_the_end(process_id)

    request, created = traced.only("POST /orders"), traced.only(CREATED)
    lost, second = traced.named(CHARGE)
    calls = traced.named("POST /charges")
    ship = traced.only(SHIP)
    assert {span.trace_id for span in read_spans(traced.path)} == {request.trace_id}
    assert created.parent_id == request.id
    assert [span.parent_id for span in (lost, second, ship)] == [created.id] * 3
    assert (lost.outcome, lost.status, lost.attributes["trellis.lost"]) == ("lost", "ERROR", True)
    assert (lost.attributes["trellis.attempt"], lost.attributes["trellis.worker"]) == (1, "first@test")
    assert lost.seconds > 1
    # What the body did before it was killed is a child of the span that its worker could not end.
    assert lost.links == [("stands_for", calls[0].parent_id)]
    assert second.links == [("follows", lost.id)]
    assert (second.outcome, second.attributes["trellis.attempt"]) == ("completed", 2)
    assert second.attributes["trellis.worker"] == "second@test"
    assert calls[1].parent_id == second.id


def test_an_attempt_whose_pool_child_was_killed_is_in_the_trace_too(traced: Traced) -> None:
    traced.worker("only")
    process_id = traced.kick("charge")
    (child,) = traced.cluster.diary.wait_for("charging")

    os.kill(int(child), signal.SIGKILL)
    traced.wait_for_the_end(process_id)

    lost, second = traced.named(CHARGE)
    assert (lost.outcome, second.outcome) == ("lost", "completed")
    assert second.links == [("follows", lost.id)]
    assert lost.trace_id == second.trace_id == traced.only("POST /orders").trace_id


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_the_steps_of_a_chain_and_celerys_own_retries_are_in_the_trace_that_started_the_process(
    traced: Traced, pool: str
) -> None:
    traced.worker("only", pool=pool)

    traced.wait_for_the_end(traced.kick("flaky"))

    created = traced.only(CREATED)
    first, second = traced.named(CHARGE)
    assert [span.parent_id for span in (first, second, traced.only(SHIP))] == [created.id] * 3
    assert (first.outcome, second.outcome) == ("retrying", "completed")
    assert [span.attributes["trellis.attempt"] for span in (first, second)] == [1, 1]
    assert second.links == [("follows", first.id)]


def test_the_trace_is_the_same_beside_opentelemetrys_own_instrumentation_of_celery(traced: Traced) -> None:
    traced.worker("only", **{INSTRUMENTED: "1"})

    traced.wait_for_the_end(traced.kick("flaky"))

    created = traced.only(CREATED)
    for span, task in [*((span, "flaky") for span in traced.named(CHARGE)), (traced.only(SHIP), "ship")]:
        (around,) = [id for relation, id in span.links if relation == "within"]
        assert span.parent_id == created.id
        assert traced.wait_for(f"run/tracing.{task}", around).trace_id == span.trace_id == created.trace_id


def test_the_trace_is_the_same_under_sentry_which_puts_headers_into_headers(traced: Traced) -> None:
    traced.worker("only", **{SENTRY: "1"})

    traced.wait_for_the_end(traced.kick("flaky"))

    assert all("sentry-trace" in headers for headers in traced.cluster.diary.read("headers"))
    spans = [*traced.named(CHARGE), traced.only(SHIP)]
    assert [span.outcome for span in spans] == ["retrying", "completed", "completed"]
    assert {span.parent_id for span in spans} == {traced.only(CREATED).id}
