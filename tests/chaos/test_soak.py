"""A short soak on either broker, and a judge that sees what it has to see."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.chaos.judge import Verdict, judge
from tests.chaos.ledger import Run
from tests.chaos.nemesis import WEIGHTS, Cut, plan
from tests.chaos.report import as_json, as_text
from tests.chaos.soak import Soak
from trellis_celery import Process, ProcessStep
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.step import StepState

SECONDS = 20


@pytest.mark.timeout(300)
@pytest.mark.fault("C1", "C2")
@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_nothing_is_lost_and_nothing_counts_twice(broker: str, tmp_path: Path) -> None:
    told: list[str] = []

    report = Soak(seconds=SECONDS, seed=2026, broker=broker).run(tmp_path, tell=told.append)

    assert report.verdict.is_good, "\n".join([*told, as_text(report)])
    assert report.verdict.steps > 20, "so little was done that this proves nothing"
    assert sum(report.faults.values()) >= 5
    assert f'"seed": {report.seed}' in as_json(report)


def test_a_seed_is_a_plan_with_every_fault_in_it_sooner_or_later() -> None:
    blows = plan(7, seconds=600)

    assert blows == plan(7, seconds=600)
    assert blows != plan(8, seconds=600)
    assert {blow.fault for blow in blows} == set(WEIGHTS)


STARTED, COMPLETED, GAVE_UP = EventKind.STEP_STARTED, EventKind.STEP_COMPLETED, EventKind.STEP_GAVE_UP
WHOLE, CUT_OFF = Run("order-1", "pack", 1, 11, 10.0, 11.0), Run("order-1", "pack", 1, 11, 10.0, None)


def _verdict(state: StepState, *kinds: EventKind, runs: tuple[Run, ...] = (WHOLE,), attempt: int = 1) -> Verdict:
    step = ProcessStep("pack", timeout_ms=1_000, retries_permitted=1)
    process = Process.start(tenant_id="t", process_type="Order", aggregate_type="Order", aggregate_id="1", steps=[step])
    process.steps["pack"] = replace(process.steps["pack"], state=state, attempt=attempt)
    log = [Event(kind, "pack", 1, 0) for kind in kinds]
    return judge([("order-1", process, log)], runs=runs, cuts=[Cut(frozenset({11}), 10.5)])


def test_a_step_that_ended_as_it_should_is_good() -> None:
    assert _verdict(StepState.COMPLETED, STARTED, COMPLETED).is_good
    assert _verdict(StepState.FAILED, STARTED, GAVE_UP).is_good


@pytest.mark.parametrize(
    ("found", "field"),
    [
        (_verdict(StepState.IN_PROGRESS, STARTED), "lost"),
        (_verdict(StepState.FAILED, STARTED), "lost"),
        (_verdict(StepState.COMPLETED, STARTED, COMPLETED, COMPLETED), "twice"),
        (_verdict(StepState.COMPLETED, STARTED, COMPLETED, runs=(CUT_OFF,)), "unproven"),
        (_verdict(StepState.COMPLETED, STARTED, STARTED, COMPLETED), "too_many_attempts"),
        (_verdict(StepState.COMPLETED, STARTED, COMPLETED, attempt=3), "too_many_attempts"),
        (_verdict(StepState.COMPLETED, STARTED, COMPLETED, runs=(WHOLE._replace(attempt=0),)), "untracked"),
    ],
    ids=[
        *("unfinished", "failed by itself", "completed twice", "no body ended"),
        *("started twice", "one attempt too many", "no attempt at all"),
    ],
)
def test_a_broken_promise_is_seen(found: Verdict, field: str) -> None:
    assert getattr(found, field) == [("order-1", "pack")]
    assert not found.is_good


def test_runs_at_the_same_time_and_the_time_until_a_lost_one_is_replaced_are_measured() -> None:
    later = Run("order-1", "pack", 2, 12, 10.9, 11.5)

    assert _verdict(StepState.COMPLETED, COMPLETED, runs=(WHOLE, later)).overlaps == 1
    assert _verdict(StepState.COMPLETED, COMPLETED, runs=(CUT_OFF, later)).detection_s == [pytest.approx(0.4)]
