"""What the pages say can be done about an incident is what the code lets people do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from trellis_celery import Process, ProcessService, ProcessStep, StepState, TimeoutCheckerService, errors
from trellis_celery.cli import advice
from trellis_celery.domain.step import OnTimeout
from trellis_celery.flower.actions import ACTIONS, open_to
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.testing import ManualClock

DOCS = Path(__file__).parents[2] / "docs/howto"

GIVEN_UP = ProcessStep("pay", timeout_ms=1_000)
GIVEN_UP_EXTERNAL = ProcessStep("pay", timeout_ms=1_000, external=True)
ONLY_TOLD = ProcessStep("pay", timeout_ms=1_000, on_timeout=OnTimeout.ALERT)


def with_incident(declared: ProcessStep) -> tuple[ProcessService, Process]:
    clock = ManualClock()
    service = ProcessService(store := MemoryStore(clock=clock))
    process = service.start_process(
        tenant_id="t", process_type="P", aggregate_type="A", aggregate_id="1", steps=[declared, ProcessStep("ship")]
    )
    if not declared.external:
        service.start_step(process, "pay")
    clock.advance(1_000)
    TimeoutCheckerService(store).check_for_timed_out_steps()
    process = service.get_process(process.id)
    assert process.step("pay").has_incident
    return service, process


@pytest.mark.parametrize("declared", [GIVEN_UP, GIVEN_UP_EXTERNAL])
def test_a_step_that_was_given_up_can_be_retried_completed_or_left_and_nothing_else(declared: ProcessStep) -> None:
    service, process = with_incident(declared)

    with pytest.raises(errors.InvalidTransition, match="cannot be completed"):
        service.complete_step(process, "pay")
    service.fail_step(process, "pay", "again")
    service.cancel(process)

    step = service.get_process(process.id).step("pay")
    assert (step.state, step.has_incident) == (StepState.FAILED, True)
    assert [action.label for action in open_to(step)] == ["Retry", "Complete", "Close incident"]
    commands = [line.split()[1] for line in advice.for_incident(step, process_id=process.id, command_line="trellis")]
    assert commands == ["retry", "complete", "close"]


@pytest.mark.parametrize("declared", [GIVEN_UP, GIVEN_UP_EXTERNAL])
def test_a_step_that_was_given_up_is_completed_if_it_was_done_in_another_way(declared: ProcessStep) -> None:
    service, process = with_incident(declared)

    service.complete_step(process, "pay", reopen=True)

    step = service.get_process(process.id).step("pay")
    assert (step.state, step.has_incident) == (StepState.COMPLETED, False)


def test_the_time_of_an_external_step_begins_anew_with_a_retry() -> None:
    service, process = with_incident(GIVEN_UP_EXTERNAL)

    service.retry_step(process, "pay")

    assert process.step("pay").deadline_ms == service.store.now_ms() + 1_000


@pytest.mark.parametrize(
    ("do", "state"),
    [
        (lambda service, process: service.complete_step(process, "pay"), StepState.COMPLETED),
        (lambda service, process: service.fail_step(process, "pay", "no money"), StepState.FAILED),
        (lambda service, process: service.cancel(process), StepState.CANCELLED),
        (lambda service, process: service.retry_step(process, "pay"), StepState.PENDING),
        (lambda service, process: service.close_incident(process, "pay"), StepState.IN_PROGRESS),
    ],
    ids=["complete", "fail", "cancel", "retry", "close"],
)
def test_a_step_that_timed_out_and_was_only_told_is_still_live(
    do: Callable[[ProcessService, Process], None], state: StepState
) -> None:
    service, process = with_incident(ONLY_TOLD)

    do(service, process)

    step = service.get_process(process.id).step("pay")
    assert (step.state, step.has_incident) == (state, False)
    if state is StepState.IN_PROGRESS:
        assert step.deadline_ms is None
        assert [action.label for action in open_to(step)] == ["Complete", "Fail"]


def test_the_page_lists_the_buttons_that_there_are() -> None:
    page = (DOCS / "monitoring.md").read_text()
    table = page[page.index("| button |") :].partition("\n\n")[0]

    assert re.findall(r"^\| ([A-Z][\w ]+) \|", table, re.MULTILINE) == [action.label for action in ACTIONS.values()]
