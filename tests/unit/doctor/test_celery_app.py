"""What is said of the configuration of Celery."""

from __future__ import annotations

from typing import Any

import pytest

from trellis_celery.doctor.celery_app import CHECKS, AppFacts
from trellis_celery.doctor.finding import Finding, Level, judge


def said(**facts: Any) -> dict[str, Finding]:
    """What each check says."""
    return {finding.check: finding for finding in judge(CHECKS, AppFacts(**facts))}


def test_celery_as_it_comes_is_fine() -> None:
    assert {finding.level for finding in said().values()} == {Level.OK}


@pytest.mark.parametrize(
    ("check", "facts", "level", "found"),
    [
        ("celery-eager", {"is_eager": True}, Level.PROBLEM, "task_always_eager"),
        ("celery-protocol", {"protocol": 1}, Level.PROBLEM, "task_protocol is 1"),
        ("celery-remote-control", {"has_remote_control": False}, Level.WARNING, "worker_enable_remote_control"),
        ("celery-remote-control", {"has_remote_control": False, "broker": "amqp"}, Level.NOTE, "is off"),
        ("celery-reject-loop", {"looping_tasks": ("shop.resize",)}, Level.WARNING, "shop.resize"),
        ("celery-imports", {"import_error": "SyntaxError: no"}, Level.PROBLEM, "SyntaxError"),
    ],
)
def test_each_setting_that_breaks_tracking_is_told(check: str, facts: dict[str, Any], level: Level, found: str) -> None:
    finding = said(**facts)[check]

    assert finding.level is level
    assert found in finding.found
    assert finding.why
    assert finding.advice
