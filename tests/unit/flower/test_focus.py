from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from trellis_celery.domain.process import Process
from trellis_celery.domain.step import DeadlineKind, OnTimeout, ProcessStep, StepState
from trellis_celery.flower.focus import Doing, doing_of, focus_of, then

NOW_MS = 1_780_000_100_000
STARTED_MS = NOW_MS - 100_000


def process(*steps: ProcessStep) -> Process:
    """One whose steps are this far."""
    declared = [ProcessStep(one.name) for one in steps]
    begun = Process.start(
        tenant_id="acme", process_type="Order", aggregate_type="Order", aggregate_id="order-1", steps=declared
    )
    return replace(begun, started_at_ms=STARTED_MS, steps={one.name: one for one in steps})


def step(name: str = "charge_card", **fields: Any) -> ProcessStep:
    return ProcessStep(name, version=1, **fields)


def running(name: str, since_ms: int) -> ProcessStep:
    return step(
        name, state=StepState.IN_PROGRESS, attempt=1, run_id="run", started_at_ms=since_ms,
        deadline_ms=NOW_MS + 1, deadline_kind=DeadlineKind.RUN,
    )  # fmt: skip


COMPLETED = step("reserve_stock", state=StepState.COMPLETED, attempt=1, finished_at_ms=NOW_MS - 40_000)
GAVE_UP = step("charge", state=StepState.FAILED, has_incident=True, finished_at_ms=NOW_MS - 5_000, attempt=3)
FAILED = step("fail", state=StepState.FAILED, finished_at_ms=NOW_MS - 9_000, attempt=1)
RUNNING = running("run", NOW_MS - 3_000)
NOT_SENT = step("pack")
EXTERNAL = step("confirm", external=True)


def test_a_process_with_nothing_to_do_and_nothing_to_mend_has_no_focus() -> None:
    assert focus_of(process(COMPLETED)) is None


@pytest.mark.parametrize(
    ("expected", "steps"),
    [
        ("charge", [EXTERNAL, NOT_SENT, RUNNING, FAILED, GAVE_UP, COMPLETED]),
        ("fail", [EXTERNAL, NOT_SENT, RUNNING, FAILED, COMPLETED]),
        ("run", [EXTERNAL, NOT_SENT, RUNNING, COMPLETED]),
        ("pack", [EXTERNAL, NOT_SENT, COMPLETED]),
        ("confirm", [EXTERNAL, COMPLETED]),
    ],
)
def test_what_needs_a_person_comes_before_what_runs_and_that_before_what_only_waits(
    expected: str, steps: list[ProcessStep]
) -> None:
    focus = focus_of(process(*steps))

    assert focus is not None
    assert (focus.step.name, focus.others) == (expected, len(steps) - 2)


def test_of_two_that_run_the_one_that_runs_longest_is_shown() -> None:
    focus = focus_of(process(running("young", NOW_MS - 1_000), running("old", NOW_MS - 60_000)))

    assert focus is not None
    assert focus.step.name == "old"


def at(kind: DeadlineKind, **fields: Any) -> ProcessStep:
    return step(state=StepState.IN_PROGRESS, attempt=1, deadline_kind=kind, deadline_ms=NOW_MS + 1_000, **fields)


@pytest.mark.parametrize(
    ("one", "doing"),
    [
        (COMPLETED, Doing("completed", NOW_MS - 40_000)),
        (GAVE_UP, Doing("given up", NOW_MS - 5_000)),
        (step(state=StepState.IN_PROGRESS, has_incident=True, attempt=1), Doing("timed out")),
        (RUNNING, Doing("running", NOW_MS - 3_000)),
        (at(DeadlineKind.QUEUE, queue_timeout_ms=21_000), Doing("waiting for a worker", NOW_MS - 20_000)),
        (
            at(DeadlineKind.QUEUE, queue_timeout_ms=10_500, resend_count=1),
            Doing("waiting for a worker", NOW_MS - 20_000),
        ),
        (at(DeadlineKind.QUEUE, queue_timeout_ms=21_000, celery_retries=1), Doing("waiting for a worker")),
        (at(DeadlineKind.QUEUE, queue_timeout_ms=900_000), Doing("waiting for a worker")),
        (at(DeadlineKind.BACKOFF), Doing("waiting before it is sent again")),
        (at(DeadlineKind.HANDOFF), Doing("being sent")),
        (at(DeadlineKind.LOST), Doing("lost; the next check takes it up", NOW_MS + 1_000)),
        (at(DeadlineKind.GIVING_UP), Doing("being given up")),
        (at(DeadlineKind.RUN), Doing("handed over to other tasks")),
        (EXTERNAL, Doing("waiting to be completed from outside", STARTED_MS)),
        (NOT_SENT, Doing("not sent", NOW_MS - 40_000)),
    ],
    ids=lambda value: value.words if isinstance(value, Doing) else "",
)
def test_what_a_step_does_and_since_when_follows_from_its_record(one: ProcessStep, doing: Doing) -> None:
    steps = [one] if one is COMPLETED else [COMPLETED, one]

    assert doing_of(one, process(*steps)) == doing


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (at(DeadlineKind.QUEUE), "then another copy is sent"),
        (at(DeadlineKind.RUN, retries_permitted=1), "then it is tried again"),
        (at(DeadlineKind.RUN, retries_permitted=1, retry_count=1), "then it is given up"),
        (at(DeadlineKind.RUN, on_timeout=OnTimeout.ALERT), "then an incident is opened"),
        (at(DeadlineKind.TELLING, on_timeout=OnTimeout.ALERT, has_incident=True), "then it is told again"),
    ],
)
def test_what_follows_the_deadline_is_told(one: ProcessStep, words: str) -> None:
    assert then(one) == words
