"""What can be done about a step, and how it is done."""

from __future__ import annotations

import pytest

from trellis_celery.domain.process import Process
from trellis_celery.domain.step import OnTimeout, ProcessStep
from trellis_celery.flower.actions import ACTIONS, Asked, can_be_cancelled, carry_out, open_to
from trellis_celery.flower.problems import Problem
from trellis_celery.services.processes import ProcessService
from trellis_celery.services.timeouts import TimeoutCheckerService
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.testing import ManualClock


class Holder:
    """What actions need of a `Trellis`."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(clock=self.clock)
        self.processes = ProcessService(self.store)

    def start(self, **fields: object) -> Process:
        step = ProcessStep("step", timeout_ms=1_000, **fields)  # type: ignore[arg-type]
        process = self.processes.start_process(
            tenant_id="t", process_type="T", aggregate_type="A", aggregate_id="1", steps=[step]
        )
        self.processes.start_step(process, "step")
        return process

    def time_out(self) -> None:
        self.clock.advance(1_001)
        TimeoutCheckerService(self.store).check_for_timed_out_steps()

    def offered(self, process: Process) -> list[str]:
        return [action.name for action in open_to(self.processes.get_process(process.id).step("step"))]

    def do(self, action: str, process: Process, *, attempt: int | None = None, reason: str = "") -> Process:
        name = "step" if ACTIONS[action].is_for_step else ""
        asked = Asked(process_id=process.id, step_name=name, reason=reason, attempt=attempt, by="ann via Flower")
        return carry_out(self, ACTIONS[action], asked)  # type: ignore[arg-type]


@pytest.fixture
def holder() -> Holder:
    return Holder()


def test_a_step_under_way_can_be_completed_or_failed(holder: Holder) -> None:
    assert holder.offered(holder.start()) == ["complete", "fail"]


def test_a_step_that_was_given_up_can_be_retried_completed_or_let_be(holder: Holder) -> None:
    process = holder.start()
    holder.time_out()

    assert holder.offered(process) == ["retry", "complete", "close"]


def test_a_step_that_was_given_up_is_completed_if_it_was_done_in_another_way(holder: Holder) -> None:
    process = holder.start()
    holder.time_out()

    after = holder.do("complete", process)

    assert (after.is_completed(), after.has_incident) == (True, False)
    assert {event.by for event in holder.processes.history(process.id) if event.by} == {"ann via Flower"}


def test_a_step_that_timed_out_and_must_not_run_twice_can_be_anything(holder: Holder) -> None:
    process = holder.start(on_timeout=OnTimeout.ALERT)
    holder.time_out()

    assert holder.offered(process) == ["retry", "complete", "fail", "close"]


def test_nothing_is_offered_for_a_finished_step(holder: Holder) -> None:
    process = holder.start()
    holder.do("complete", process)

    assert holder.offered(process) == []
    assert not can_be_cancelled(holder.processes.get_process(process.id))


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_whatever_is_offered_can_be_done_and_is_logged_with_who_did_it(name: str) -> None:
    holder = Holder()
    process = holder.start(on_timeout=OnTimeout.ALERT)
    holder.time_out()

    after = holder.do(name, process, reason="because")

    assert after.version != process.version or after.steps != process.steps
    by = [event.by for event in holder.processes.history(process.id) if event.by]
    assert by == ["ann via Flower"]


def test_nothing_is_done_if_it_was_another_attempt_that_somebody_saw(holder: Holder) -> None:
    process = holder.start()

    with pytest.raises(Problem) as refused:
        holder.do("complete", process, attempt=2)

    assert refused.value.kind == "AnotherAttempt"
    assert holder.offered(process) == ["complete", "fail"]


@pytest.mark.parametrize("reason", ["", " \n ", "x" * 2_001])
def test_a_reason_has_to_be_there_and_to_be_short(holder: Holder, reason: str) -> None:
    process = holder.start()

    with pytest.raises(Problem) as refused:
        holder.do("fail", process, reason=reason)

    assert refused.value.status_code == 400
    assert holder.offered(process) == ["complete", "fail"]


def test_a_reason_is_kept_as_it_can_be_seen(holder: Holder) -> None:
    after = holder.do("fail", holder.start(), reason="  broken\u202e\x00\nsince noon ")

    assert after.step("step").last_error == "broken\\u202e\\u0000\nsince noon"
