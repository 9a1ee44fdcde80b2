"""What is said of a broker."""

from __future__ import annotations

from typing import Any

import pytest

from trellis_celery.doctor.broker import CHECKS, BrokerFacts
from trellis_celery.doctor.finding import Finding, Level, judge
from trellis_celery.doctor.steps import StepFacts, TaskFacts

HOUR_MS = 3_600_000


def said(kind: str, **facts: Any) -> dict[str, Finding]:
    """What each check says."""
    return {
        finding.check: finding for finding in judge(CHECKS, BrokerFacts(place=f"{kind}://shop", kind=kind, **facts))
    }


def step(*, timeout_ms: int | None = None, **task: Any) -> StepFacts:
    return StepFacts(name="Order.pay", timeout_ms=timeout_ms, tasks=(TaskFacts(name="shop.pay", queue="slow", **task),))


def test_each_kind_of_broker_is_asked_for_what_it_can_lose() -> None:
    assert set(said("redis")) == {
        "broker-reachable", "broker-visibility", "broker-restore", "broker-socket-timeout", "broker-database",
    }  # fmt: skip
    assert set(said("amqp")) == {
        "broker-reachable", "broker-confirms", "broker-durability", "broker-consumer-timeout",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "level"), [("redis", Level.OK), ("amqp", Level.OK), ("sqs", Level.NOTE), ("memory", Level.PROBLEM)]
)
def test_a_broker_in_memory_is_a_problem_and_an_untested_one_a_note(kind: str, level: Level) -> None:
    assert said(kind)["broker-reachable"].level is level


@pytest.mark.parametrize(("is_confirmed", "level"), [(True, Level.OK), (False, Level.WARNING)])
def test_without_confirms_rabbitmq_loses_what_was_sent(is_confirmed: bool, level: Level) -> None:
    assert said("amqp", is_confirmed=is_confirmed)["broker-confirms"].level is level


def test_messages_in_memory_only_are_a_warning() -> None:
    finding = said("amqp", transient=("queue slow",))["broker-durability"]

    assert finding.level is Level.WARNING
    assert "queue slow" in finding.found


@pytest.mark.parametrize(
    ("held", "level"),
    [
        (step(timeout_ms=HOUR_MS), Level.OK),
        (step(timeout_ms=HOUR_MS - 1, acks_late=True), Level.OK),
        (step(timeout_ms=HOUR_MS, acks_late=True), Level.WARNING),
        (step(timeout_ms=1_000, retry_wait_ms=HOUR_MS), Level.WARNING),
    ],
)
def test_a_message_that_is_held_longer_than_the_visibility_timeout_comes_twice(held: StepFacts, level: Level) -> None:
    assert said("redis", visibility_timeout_ms=HOUR_MS, steps=(held,))["broker-visibility"].level is level


@pytest.mark.parametrize(
    ("facts", "level"),
    [
        ({}, Level.WARNING),
        ({"consumer_timeouts_ms": {"slow": 2 * HOUR_MS}}, Level.OK),
        ({"consumer_timeouts_ms": {"other": 2 * HOUR_MS}}, Level.WARNING),
    ],
)
def test_rabbitmq_closes_the_channel_of_a_worker_that_holds_a_message_for_half_an_hour(
    facts: dict[str, Any], level: Level
) -> None:
    held = step(timeout_ms=HOUR_MS, acks_late=True)

    assert said("amqp", version=(3, 10, 8), steps=(held,), **facts)["broker-consumer-timeout"].level is level


def test_an_old_rabbitmq_has_no_such_limit() -> None:
    held = step(timeout_ms=HOUR_MS, acks_late=True)

    assert "broker-consumer-timeout" not in said("amqp", version=(3, 8, 0), steps=(held,))


@pytest.mark.parametrize(
    ("queue_timeout_ms", "level", "found"), [(900_000, Level.NOTE, "15 min"), (2 * HOUR_MS, Level.OK, "1 h")]
)
def test_what_a_killed_worker_had_fetched_is_back_by_whatever_is_sooner(
    queue_timeout_ms: int, level: Level, found: str
) -> None:
    finding = said("redis", queue_timeout_ms=queue_timeout_ms)["broker-restore"]

    assert finding.level is level
    assert found in finding.found


@pytest.mark.parametrize(("seconds", "level"), [(None, Level.WARNING), (30, Level.OK)])
def test_a_publish_that_waits_for_ever_is_a_warning(seconds: float | None, level: Level) -> None:
    assert said("redis", socket_timeout_s=seconds)["broker-socket-timeout"].level is level


@pytest.mark.parametrize(("has_store", "level"), [(True, Level.WARNING), (False, Level.OK)])
def test_queues_and_processes_in_one_database_are_deleted_together(has_store: bool, level: Level) -> None:
    assert said("redis", has_store=has_store)["broker-database"].level is level
