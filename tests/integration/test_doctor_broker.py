"""What `trellis doctor` says of brokers and of Celery's configuration, with real brokers."""

from __future__ import annotations

import time
from typing import Any

import pytest
from kombu import Exchange, Queue

from tests.support.examining import level, made, said, seen
from tests.support.programs import free_port
from tests.support.proxy import Proxy
from trellis_celery.doctor import Level

pytestmark = pytest.mark.integration

STORE = {"trellis_url": "memory://"}
HOUR_S = 3_600
LATE = {"acks_late": True}
RESTORED = pytest.mark.fault("B19")


def _queues(**options: Any) -> dict[str, Any]:
    return {"task_default_queue": "work", "task_queues": [Queue("work", Exchange("work"), "work", **options)]}


@pytest.mark.parametrize(
    ("settings", "task", "check", "expected"),
    [
        ({}, {}, "broker-socket-timeout", Level.WARNING),
        ({"broker_transport_options": {"socket_timeout": 30}}, {}, "broker-socket-timeout", Level.OK),
        ({}, LATE, "broker-visibility", Level.OK),
        ({"broker_transport_options": {"visibility_timeout": 30}}, {}, "broker-visibility", Level.OK),
        ({"broker_transport_options": {"visibility_timeout": 30}}, LATE, "broker-visibility", Level.WARNING),
        (
            {"broker_transport_options": {"visibility_timeout": 60}},
            {"autoretry_for": (OSError,)},
            "broker-visibility",
            Level.WARNING,
        ),
        pytest.param({}, {}, "broker-restore", Level.NOTE, marks=RESTORED),
        pytest.param(
            {"broker_transport_options": {"visibility_timeout": 60}}, {}, "broker-restore", Level.OK, marks=RESTORED
        ),
        ({"worker_enable_remote_control": False}, {}, "celery-remote-control", Level.WARNING),
        ({"task_always_eager": True}, {}, "celery-eager", Level.PROBLEM),
        ({"task_protocol": 1}, {}, "celery-protocol", Level.PROBLEM),
        ({"include": ["no.such.module"]}, {}, "celery-imports", Level.PROBLEM),
        ({}, {"acks_late": True, "acks_on_failure_or_timeout": False}, "steps-acks-late", Level.NOTE),
        ({}, {"time_limit": None}, "steps-time-limit", Level.WARNING),
        ({}, {"time_limit": 20}, "steps-time-limit", Level.NOTE),
        ({}, {}, "steps-time-limit", Level.OK),
    ],
)
def test_each_setting_with_a_broker_in_redis_is_judged(
    redis_url: str, settings: dict[str, Any], task: dict[str, Any], check: str, expected: Level
) -> None:
    with made(broker=redis_url, task=task, **STORE, **settings) as trellis:
        assert level(trellis, check) is expected


@pytest.mark.parametrize(
    ("settings", "task", "check", "expected"),
    [
        ({}, {}, "broker-reachable", Level.OK),
        ({}, {}, "broker-confirms", Level.WARNING),
        ({"broker_transport_options": {"confirm_publish": True}}, {}, "broker-confirms", Level.OK),
        ({}, {}, "broker-durability", Level.OK),
        ({"task_default_delivery_mode": "transient"}, {}, "broker-durability", Level.WARNING),
        (_queues(durable=False), {}, "broker-durability", Level.WARNING),
        ({}, LATE, "broker-consumer-timeout", Level.OK),
        (_queues(queue_arguments={"x-consumer-timeout": 10_000}), LATE, "broker-consumer-timeout", Level.WARNING),
        (
            {},
            {"autoretry_for": (OSError,), "retry_kwargs": {"countdown": HOUR_S}},
            "broker-consumer-timeout",
            Level.WARNING,
        ),
        ({"worker_enable_remote_control": False}, {}, "celery-remote-control", Level.NOTE),
    ],
)
def test_each_setting_with_rabbitmq_is_judged(
    rabbitmq_url: str, settings: dict[str, Any], task: dict[str, Any], check: str, expected: Level
) -> None:
    with made(broker=rabbitmq_url, task=task, **STORE, **settings) as trellis:
        assert level(trellis, check) is expected


def test_rabbitmq_is_told_with_its_release_and_without_its_password(rabbitmq_url: str) -> None:
    with made(broker=rabbitmq_url, **STORE) as trellis:
        (finding,) = said(trellis, "broker-reachable")

    assert "RabbitMQ 3." in finding.found or "RabbitMQ 4." in finding.found
    assert "guest:guest" not in finding.found


def test_a_broker_in_memory_is_a_problem() -> None:
    with made(**STORE) as trellis:
        assert level(trellis, "broker-reachable") is Level.PROBLEM


@pytest.mark.parametrize("scheme", ["redis", "amqp", "nonsense"])
def test_a_broker_that_is_not_there_is_told_and_everything_else_is_looked_at_all_the_same(scheme: str) -> None:
    with made(broker=f"{scheme}://shop:secret@127.0.0.1:{free_port()}/0", **STORE) as trellis:
        report = seen(trellis)

    (finding,) = [one for one in report.findings if one.check == "broker-reachable"]
    assert finding.level is Level.PROBLEM
    assert "secret" not in repr(report)
    assert {"broker-confirms", "workers-answer"} <= report.unchecked.keys()
    assert {"store-shared", "steps-bound", "check-age"} <= {one.check for one in report.findings}


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_a_broker_that_swallows_everything_keeps_nobody_waiting(kind: str, request: pytest.FixtureRequest) -> None:
    url: str = request.getfixturevalue(f"{kind}_url")
    host, _, rest = url.rpartition(":")
    port, _, path = rest.partition("/")
    with Proxy(int(port)) as proxy, made(broker=f"{host}:{proxy.port}/{path}", **STORE) as trellis:
        proxy.is_blackhole = True
        started_s = time.monotonic()

        (finding,) = said(trellis, "broker-reachable")

        assert finding.level is Level.PROBLEM
        assert time.monotonic() - started_s < 20


def test_a_task_that_would_kill_workers_without_end_is_told_unless_it_does_a_step(redis_url: str) -> None:
    fatal = {"acks_late": True, "reject_on_worker_lost": True}
    with made(broker=redis_url, task=fatal, **STORE) as trellis:
        assert level(trellis, "celery-reject-loop") is Level.OK

        def resize() -> None: ...

        make: Any = trellis.app.task
        make(name="examined.resize", shared=False, **fatal)(resize)
        (finding,) = said(trellis, "celery-reject-loop")

    assert finding.level is Level.WARNING
    assert finding.found.endswith("examined.resize")
