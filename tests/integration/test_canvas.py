"""Whatever way a task is sent, what goes out again after it was lost is the same message; and a chain goes on once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from celery import Celery, chain, chord, group
from celery.result import AsyncResult

from tests.support.cluster import Cluster
from tests.support.waiting import eventually
from trellis_celery import ProcessHandle, Trellis
from trellis_celery.ports import StepKey

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def cluster(request: pytest.FixtureRequest, start_cluster: Callable[..., Cluster]) -> Iterator[Cluster]:
    broker_url = request.getfixturevalue("rabbitmq_url") if request.param == "rabbitmq" else ""
    cluster = start_cluster("tests.support.apps.canvas", broker_url=broker_url)
    yield cluster
    cluster.close()


def new_process(cluster: Cluster, process_type: str) -> ProcessHandle:
    return cluster.trellis.start_process(
        getattr(cluster.module, process_type), tenant_id="tests", aggregate_type="Flow", aggregate_id=uuid4().hex[:8]
    )


# The message: no worker runs


class Wire(NamedTuple):
    """A message as the broker has it."""

    headers: dict[str, Any]
    properties: dict[str, Any]
    content: tuple[str, str, bytes]


def fetch(cluster: Cluster, queue: str) -> Wire:
    """Take the next message out of a queue."""

    def take() -> Any:
        with cluster.app.connection_for_read() as connection:
            return connection.default_channel.basic_get(queue, no_ack=True)

    found = eventually(take, what=f"a message in {queue}")
    properties = {name: found.properties.get(name) for name in ("correlation_id", "reply_to", "delivery_mode")}
    properties["priority"] = found.properties.get("priority") or 0  # to RabbitMQ none is the lowest
    place = {name: found.delivery_info.get(name) for name in ("exchange", "routing_key")}
    body = found.body if isinstance(found.body, bytes) else found.body.encode()
    return Wire(found.headers, properties | place, (found.content_type, found.content_encoding, body))


@pytest.fixture
def letter(cluster: Cluster) -> Iterator[ProcessHandle]:
    """A process of which only one message is in the queues, and no worker takes it."""
    with cluster.app.connection_for_write() as connection:
        for queue in cluster.app.amqp.queues.values():
            queue(connection.default_channel).declare()
    process = new_process(cluster, "Letter")
    yield process
    process.cancel()
    cluster.app.control.purge()


SENDINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "keyword arguments": {"args": (), "kwargs": {"a": [1, None], "ü": "é🎉"}},
    "another queue": {"queue": "victim"},
    "a queue nobody declared": {"queue": "made-up"},
    "exchange and routing key": {"exchange": "post", "routing_key": "letters.today"},
    "priority": {"priority": 7},
    "headers": {"headers": {"x-request": "42", "deep": {"er": [1]}}},
    "headers as Sentry writes them": {"headers": {"like-sentry": True}},
    "limits": {"time_limit": 90, "soft_time_limit": 80},
    "link": {"link": "unbound"},
    "link_error": {"link_error": "errback"},
    "shadow, reply and ignore_result": {"shadow": "posted", "reply_to": "me", "ignore_result": True},
    "countdown": {"countdown": 0.3},
    "json": {"serializer": "json", "args": (datetime(2026, 11, 1, tzinfo=UTC), Decimal("1.5"), b"\x00\xff")},
    "pickle": {"serializer": "pickle", "args": ({1, 2}, b"\x00\xff", 1j)},
    "msgpack": {"serializer": "msgpack", "args": (b"\x00\xff", "é")},
    "yaml": {"serializer": "yaml", "args": ("é", {"a": 1})},
    "gzip": {"compression": "gzip", "args": ("x" * 5_000,)},
    "gzip of pickle": {"compression": "gzip", "serializer": "pickle", "args": (b"x" * 5_000,)},
}


def queue_of(options: dict[str, Any]) -> str:
    return options.get("queue") or ("letters" if "exchange" in options else "canvas")


@pytest.mark.fault("A9")
@pytest.mark.parametrize("how", SENDINGS)
def test_a_message_that_was_lost_goes_out_again_as_it_was(cluster: Cluster, letter: ProcessHandle, how: str) -> None:
    options = {"args": (1, "two"), **SENDINGS[how]}
    for link in options.keys() & {"link", "link_error"}:
        options[link] = getattr(cluster.module, options[link]).s("flow")
    with letter:
        cluster.module.post.apply_async(**options)

    sent = fetch(cluster, queue_of(options))
    eventually(lambda: cluster.trellis.timeouts.check_for_timed_out_steps(by="test").resent, what="sent again")

    again = fetch(cluster, queue_of(options))
    ours = {"trellis", "eta", "headers"}
    assert {k: v for k, v in again.headers.items() if k not in ours} == {
        k: v for k, v in sent.headers.items() if k not in ours
    }
    assert again.headers["eta"] is None
    assert again.headers["trellis"]["attempt"] == sent.headers["trellis"]["attempt"] == 1
    assert (again.headers.get("headers") or {}).keys() == (sent.headers.get("headers") or {}).keys()
    assert again.properties == sent.properties
    assert again.content == sent.content
    assert letter.refresh().steps["post"].retry_count == 0


@pytest.mark.fault("A13")
def test_a_chord_member_that_was_lost_still_knows_its_group_chord_and_index(
    cluster: Cluster, letter: ProcessHandle
) -> None:
    module = cluster.module
    with letter:
        chord([module.unbound.s(1, "f").set(queue="victim"), module.post.s(2)])(module.unbound.s("f"))

    sent = fetch(cluster, "canvas")
    eventually(lambda: cluster.trellis.timeouts.check_for_timed_out_steps(by="test").resent, what="sent again")

    again = fetch(cluster, "canvas")
    fetch(cluster, "victim")
    assert sent.headers["group"]
    assert sent.headers["group_index"] == 1
    assert b'"chord": {' in sent.content[2]
    assert (again.headers["group"], again.headers["group_index"]) == (sent.headers["group"], 1)
    assert again.content == sent.content


# The work: a worker is killed while it runs a part of each canvas, and another goes on


class Canvases(NamedTuple):
    """The flows, each with a part that ran in the killed worker."""

    processes: dict[str, ProcessHandle]
    results: dict[str, Any]


@pytest.fixture(scope="module")
def canvases(cluster: Cluster) -> Canvases:
    m = cluster.module
    victim = cluster.worker("-Q", "victim", name="victim", concurrency=6, wait=False)
    survivor = cluster.worker("-Q", "canvas", name="survivor", wait=False)
    cluster.beat()
    cluster.wait_for_worker(victim)
    cluster.wait_for_worker(survivor)
    processes, results = {}, {}

    def run(name: str, make: Callable[[str], Any]) -> None:
        processes[name] = new_process(cluster, "Flow")
        with processes[name]:
            results[name] = make(processes[name].process.key.aggregate_id)

    def second(flow: str, *args: int) -> Any:
        return m.second.s(*args, flow).set(queue="victim")

    run("chain", lambda f: chain(m.first.s(0, f), second(f), m.third.s(f))())
    run("chord", lambda f: chord([m.first.s(0, f), second(f, 0), m.third.s(0, f)])(m.last.s(f)))
    run("group", lambda f: group([m.first.s(0, f), second(f, 0), m.third.s(0, f)])())
    run("link", lambda f: m.second.apply_async((0, f), queue="victim", link=m.third.s(f)))
    run("link_error", lambda f: m.fails.apply_async((f,), queue="victim", link_error=m.errback.s(f)))
    run("unbound middle", lambda f: chain(m.first.s(0, f), m.unbound.s(f), second(f), m.unbound.s(f), m.last.s(f))())
    for name, process in processes.items():
        page = "fails" if name == "link_error" else "second"
        cluster.diary.wait_for(f"{page} {process.process.key.aggregate_id}")
    victim.kill()
    cluster.consume("victim", by="survivor")
    return Canvases(processes, results)


def settled(process: ProcessHandle, *steps: str) -> dict[str, tuple[str, int]]:
    """The state and the attempt of each of the steps, once all are finished."""
    eventually(lambda: all(process.refresh().steps[step].state.is_terminal for step in steps), what="steps finished")
    return {step: (str(process.steps[step].state), process.steps[step].attempt) for step in steps}


def value_of(result: AsyncResult) -> Any:
    """Without `get`, which leaves a subscription open."""
    eventually(result.ready, what="result stored")
    return result.result


DONE, DONE_AGAIN = ("completed", 1), ("completed", 2)


@pytest.mark.fault("A13")
def test_a_chain_goes_on_once_after_a_lost_link(cluster: Cluster, canvases: Canvases) -> None:
    process = canvases.processes["chain"]

    states = settled(process, "first", "second", "third")

    assert states == {"first": DONE, "second": DONE_AGAIN, "third": DONE}
    assert value_of(canvases.results["chain"]) == 111
    assert cluster.diary.read(f"third {process.process.key.aggregate_id}") == ["11"]


@pytest.mark.fault("A13")
def test_a_chord_body_runs_once_with_every_result_after_a_lost_member(cluster: Cluster, canvases: Canvases) -> None:
    process = canvases.processes["chord"]

    states = settled(process, "first", "second", "third", "last")

    assert states == {"first": DONE, "second": DONE_AGAIN, "third": DONE, "last": DONE}
    assert cluster.diary.read(f"last {process.process.key.aggregate_id}") == ["[1, 10, 100]"]


@pytest.mark.fault("A13")
def test_a_group_gets_all_its_results_after_a_lost_member(cluster: Cluster, canvases: Canvases) -> None:
    states = settled(canvases.processes["group"], "first", "second", "third")

    assert states == {"first": DONE, "second": DONE_AGAIN, "third": DONE}
    assert [value_of(result) for result in canvases.results["group"]] == [1, 10, 100]


@pytest.mark.fault("A13")
def test_a_link_goes_out_once_after_its_task_was_lost(cluster: Cluster, canvases: Canvases) -> None:
    process = canvases.processes["link"]

    states = settled(process, "second", "third")

    assert states == {"second": DONE_AGAIN, "third": DONE}
    assert cluster.diary.read(f"third {process.process.key.aggregate_id}") == ["10"]


@pytest.mark.fault("A13")
def test_an_error_callback_runs_once_after_its_task_was_lost_and_then_failed(
    cluster: Cluster, canvases: Canvases
) -> None:
    process = canvases.processes["link_error"]

    states = settled(process, "fails")

    assert states == {"fails": ("failed", 2)}
    assert cluster.diary.wait_for(f"errback {process.process.key.aggregate_id}") == ["no"]


def test_tasks_that_are_no_step_hand_the_process_on(cluster: Cluster, canvases: Canvases) -> None:
    process = canvases.processes["unbound middle"]

    states = settled(process, "first", "second", "last")

    assert states == {"first": DONE, "second": DONE_AGAIN, "last": DONE}
    assert cluster.diary.read(f"last {process.process.key.aggregate_id}") == ["11"]


def test_a_task_sent_from_within_a_task_belongs_to_its_process(cluster: Cluster, canvases: Canvases) -> None:
    process = new_process(cluster, "Flow")
    with process:
        cluster.module.spawn.delay(process.process.key.aggregate_id)

    assert settled(process, "last") == {"last": DONE}


@pytest.mark.parametrize("sender", ["knows the task", "does not know the task"])
def test_a_task_sent_by_name_is_the_step(cluster: Cluster, canvases: Canvases, sender: str) -> None:
    app = cluster.app
    if sender == "does not know the task":
        app = Celery("web", broker=cluster.broker_url, set_as_current=False)
        app.conf.trellis_url = cluster.app.conf.trellis_url
        Trellis(app)
    process = new_process(cluster, "Flow")
    flow = process.process.key.aggregate_id

    with process:
        app.send_task("canvas.last", (1, flow), queue="canvas", exchange="canvas", routing_key="canvas")

    assert settled(process, "last") == {"last": DONE}
    assert cluster.diary.read(f"last {flow}") == ["1"]


def test_a_task_with_a_countdown_runs_then_and_not_before(cluster: Cluster, canvases: Canvases) -> None:
    process = new_process(cluster, "Flow")
    with process:
        sent = cluster.module.last.apply_async((1, "later"), countdown=2)

    states = settled(process, "last")

    step = process.steps["last"]
    queued = next(event for event in process.history() if event.detail == sent.id)
    assert states == {"last": DONE}
    assert step.started_at_ms - queued.occurred_at_ms >= 1_900


def test_a_closed_process_keeps_no_arguments(cluster: Cluster, canvases: Canvases) -> None:
    process = new_process(cluster, "Flow")
    with process:
        cluster.module.last.delay("secret", "kept")

    settled(process, "last")

    assert cluster.trellis.store.load_messages([StepKey(process.id, "last")]) == [None]
