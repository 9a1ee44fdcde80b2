"""What is said of live workers."""

from __future__ import annotations

from typing import Any

import pytest

from trellis_celery.doctor.finding import Finding, Level, judge
from trellis_celery.doctor.workers import CHECKS, WorkerFacts, WorkersFacts

HERE = {"trellis_url": "redis://shop/1", "trellis_strict": "false"}


def worker(**facts: Any) -> WorkerFacts:
    given = {
        "name": "one@shop",
        "tasks": frozenset({"shop.pay"}),
        "queues": frozenset({"celery"}),
        "version": "1.0",
        "settings": HERE,
    }
    return WorkerFacts(**{**given, **facts})


def said(*workers: WorkerFacts, **facts: Any) -> dict[str, Finding]:
    """What each check says."""
    given = {
        "version": "1.0",
        "settings": HERE,
        "tasks": frozenset({"shop.pay"}),
        "queues": frozenset({"celery"}),
        **facts,
    }
    return {finding.check: finding for finding in judge(CHECKS, WorkersFacts(workers=workers, **given))}


def test_a_worker_like_this_program_is_fine() -> None:
    assert [finding.level for finding in said(worker()).values()] == [Level.OK] * len(CHECKS)


def test_without_workers_that_run_steps_nothing_else_is_said() -> None:
    nobody, others = said(), said(worker(tasks=frozenset({"blog.post"})))

    assert (set(nobody), set(others)) == ({"workers-answer"}, {"workers-answer"})
    assert nobody["workers-answer"].level is Level.WARNING
    assert "1 worker of other tasks" in others["workers-answer"].found


@pytest.mark.parametrize(
    ("check", "facts", "level", "found"),
    [
        ("workers-track", {"has_trellis": False}, Level.PROBLEM, "without trellis: one@shop"),
        ("workers-version", {"version": "0.9"}, Level.WARNING, "one@shop (0.9)"),
        ("workers-version", {"version": None}, Level.WARNING, "one@shop (older)"),
        ("workers-settings", {"settings": {**HERE, "trellis_url": "redis://old/1"}}, Level.WARNING, "redis://old/1"),
        ("workers-settings", {"settings": {**HERE, "trellis_strict": "true"}}, Level.NOTE, "trellis_strict is true"),
        ("workers-settings", {"settings": {"trellis_url": "redis://shop/1"}}, Level.OK, "the settings"),
        ("workers-queues", {"queues": frozenset({"other"})}, Level.WARNING, "no worker reads celery"),
    ],
)
def test_a_worker_that_differs_is_told(check: str, facts: dict[str, Any], level: Level, found: str) -> None:
    finding = said(worker(**facts))[check]

    assert finding.level is level
    assert found in finding.found


@pytest.mark.parametrize(
    ("here", "there", "level", "found"),
    [
        (("a",), ("a",), Level.OK, "the same signatures"),
        (("a",), ("b",), Level.PROBLEM, "one@shop"),
        (("a",), (), Level.PROBLEM, "or none: one@shop"),
        ((), ("a",), Level.PROBLEM, "or none: one@shop"),
        (("b", "a"), ("a", "b"), Level.OK, "the same signatures"),
        (("b", "a"), ("a",), Level.PROBLEM, "one@shop"),
        (("a", "unsigned"), ("a", "unsigned"), Level.WARNING, "nobody has signed"),
        (("a", "unsigned"), (), Level.OK, "the same signatures"),
    ],
)
def test_keys_that_do_not_trust_each_other_are_told(
    here: tuple[str, ...], there: tuple[str, ...], level: Level, found: str
) -> None:
    finding = said(worker(keys=there), keys=here)["workers-signing"]

    assert finding.level is level
    assert found in finding.found


def test_a_queue_may_be_read_by_any_worker() -> None:
    reader = worker(name="two@shop", tasks=frozenset(), queues=frozenset({"celery"}))

    assert said(worker(queues=frozenset()), reader)["workers-queues"].level is Level.OK


@pytest.mark.parametrize(
    ("pool", "limited", "level"),
    [
        ("prefork", {"shop.pay"}, Level.OK),
        ("thread", {"shop.pay"}, Level.WARNING),
        ("solo", {"shop.pay"}, Level.WARNING),
        ("thread", set(), Level.OK),
    ],
)
def test_a_pool_that_ignores_time_limits_matters_where_there_are_some(
    pool: str, limited: set[str], level: Level
) -> None:
    assert said(worker(pool=pool), limited_tasks=frozenset(limited))["workers-pool"].level is level
