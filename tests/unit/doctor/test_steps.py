"""What is said of declared steps and of the tasks that do them."""

from __future__ import annotations

from typing import Any

import pytest

from trellis_celery.doctor.finding import Finding, Level, judge
from trellis_celery.doctor.steps import CHECKS, DeclaredFacts, StepFacts, TaskFacts

LIMITED = TaskFacts(name="shop.pay", time_limit_ms=35_000)


def step(**facts: Any) -> StepFacts:
    return StepFacts(**{"name": "Order.pay", "timeout_ms": 30_000, "tasks": (LIMITED,), **facts})


def said(*steps: StepFacts, **facts: Any) -> dict[str, list[Finding]]:
    """What each check says."""
    found: dict[str, list[Finding]] = {}
    for finding in judge(CHECKS, DeclaredFacts(steps=steps, **facts)):
        found.setdefault(finding.check, []).append(finding)
    return found


def test_a_step_with_a_task_a_timeout_and_a_time_limit_is_fine() -> None:
    levels = [finding.level for findings in said(step(retries_permitted=3)).values() for finding in findings]

    assert levels == [Level.OK] * len(CHECKS)


@pytest.mark.parametrize(
    ("facts", "level", "found"),
    [
        ({"tasks": ()}, Level.PROBLEM, "no task does Order.pay"),
        ({"tasks": (), "named_task": "other.pay"}, Level.NOTE, "Order.pay (other.pay)"),
        ({"tasks": (), "is_external": True}, Level.OK, "0 steps bound, 1 external"),
    ],
)
def test_a_step_that_nobody_does_is_a_problem(facts: dict[str, Any], level: Level, found: str) -> None:
    (finding,) = said(step(**facts))["steps-bound"]

    assert finding.level is level
    assert found in finding.found


def test_an_app_that_declares_nothing_is_told_so() -> None:
    (finding,) = said()["steps-bound"]

    assert finding.level is Level.WARNING
    assert "include" in finding.advice


def test_two_tasks_of_one_step_are_told_by_name() -> None:
    (finding,) = said(step(tasks=(LIMITED, TaskFacts(name="shop.pay_again"))))["steps-once"]

    assert finding.level is Level.NOTE
    assert "shop.pay, shop.pay_again" in finding.found


def test_a_type_that_two_classes_have_is_a_module_that_was_imported_twice() -> None:
    (finding,) = said(step(), doubled_types=("Order",))["steps-once"]

    assert finding.level is Level.WARNING
    assert "one name everywhere" in finding.advice


@pytest.mark.parametrize(
    ("facts", "level", "found"),
    [
        ({"timeout_ms": 30_000}, Level.OK, "every step"),
        ({"timeout_ms": None}, Level.WARNING, "without timeout_ms: Order.pay"),
        ({"timeout_ms": None, "is_external": True}, Level.NOTE, "external, without timeout_ms: Order.pay"),
        ({"timeout_ms": 3_000}, Level.NOTE, "below 5 s"),
        ({"timeout_ms": 900}, Level.WARNING, "below 1 s"),
    ],
)
def test_a_timeout_is_there_and_longer_than_it_takes_to_look(facts: dict[str, Any], level: Level, found: str) -> None:
    (finding,) = said(step(**facts), worker_lost_ms=5_000, check_interval_ms=1_000)["steps-timeout"]

    assert finding.level is level
    assert found in finding.found


@pytest.mark.parametrize(
    ("limit_ms", "level", "found"),
    [
        (None, Level.WARNING, "no hard time_limit"),
        (30_000, Level.OK, "killed soon"),
        (120_000, Level.OK, "killed soon"),
        (120_001, Level.NOTE, "far above"),
        (29_999, Level.NOTE, "below timeout_ms"),
    ],
)
def test_a_hung_body_is_killed_soon_after_it_is_late(limit_ms: int | None, level: Level, found: str) -> None:
    (finding,) = said(step(tasks=(TaskFacts(name="shop.pay", time_limit_ms=limit_ms),)))["steps-time-limit"]

    assert finding.level is level
    assert found in finding.found


@pytest.mark.parametrize(
    ("task", "facts", "level"),
    [
        ({}, {}, Level.OK),
        ({"acks_late": True}, {"retries_permitted": 1}, Level.OK),
        ({"acks_late": True}, {"retries_permitted": 0}, Level.WARNING),
        ({"acks_late": True}, {"retries_permitted": 0, "only_alerts": True}, Level.OK),
        ({"acks_late": True, "acks_on_timeout": False}, {"retries_permitted": 1}, Level.NOTE),
        ({"acks_late": True, "acks_on_failure": False}, {"retries_permitted": 1}, Level.NOTE),
    ],
)
def test_what_celery_brings_again_and_what_trellis_permits_fit_together(
    task: dict[str, Any], facts: dict[str, Any], level: Level
) -> None:
    (finding,) = said(step(tasks=(TaskFacts(name="shop.pay", **task),), **facts))["steps-acks-late"]

    assert finding.level is level


def test_of_many_steps_the_first_are_named_and_the_others_counted() -> None:
    steps = [step(name=f"Order.step_{number}", tasks=()) for number in range(12)]

    (finding,) = said(*steps)["steps-bound"]

    assert finding.found.endswith("Order.step_3, Order.step_4 and 7 more")
