from __future__ import annotations

import getpass
import os
import socket
from typing import Any

import pytest

from tests.unit.cli.conftest import Shell
from trellis_celery.cli import operating
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.process import ProcessState
from trellis_celery.domain.step import StepState

ME = f"{getpass.getuser()}@{socket.gethostname()}"


def last(shell: Shell, order: str, kind: EventKind) -> Event:
    return [event for event in shell.shop.service.history(order) if event.kind is kind][-1]


def step(shell: Shell, order: str, name: str = "charge") -> Any:
    return shell.shop.service.get_process(order).steps[name]


def test_a_step_is_completed_and_the_log_says_by_whom(shell: Shell) -> None:
    order = shell.shop.order()

    result = shell("complete", order, "charge", "--by", "ann")

    assert result.stdout == f"Order {order}: step charge completed by ann. The process is in_progress.\n"
    assert step(shell, order).state is StepState.COMPLETED
    assert last(shell, order, EventKind.STEP_COMPLETED).by == "ann"


def test_who_types_is_named_by_user_and_machine(shell: Shell) -> None:
    order = shell.shop.order()

    shell("fail", order, "charge", "--error", "no such card")

    failure = last(shell, order, EventKind.STEP_FAILED)
    assert (failure.by, failure.detail) == (ME, "no such card")


def test_a_user_without_a_name_is_named_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", no_name)

    assert operating.user_at_host() == f"uid {os.getuid()}@{socket.gethostname()}"


def test_a_step_that_was_given_up_is_tried_again(shell: Shell) -> None:
    order = shell.shop.order()
    shell.shop.give_up_on(order)

    result = shell("retry", order, "charge")

    assert "retried" in result.stdout
    assert "no task is sent: somebody has to start or complete it" in result.stdout
    assert last(shell, order, EventKind.STEP_REOPENED).by == ME
    after = step(shell, order)
    assert (after.state, after.attempt, after.has_incident) == (StepState.PENDING, 3, False)


def test_a_step_that_was_given_up_is_completed_without_sending_anything(shell: Shell) -> None:
    order = shell.shop.order()
    shell.shop.give_up_on(order)

    result = shell("complete", order, "charge", "--by", "ann")

    assert result.stdout == f"Order {order}: step charge completed by ann. The process is in_progress.\n"
    assert last(shell, order, EventKind.STEP_COMPLETED).by == "ann"
    assert shell.shop.service.incidents() == []


def test_an_incident_is_closed_with_a_note(shell: Shell) -> None:
    order = shell.shop.order()
    shell.shop.give_up_on(order)

    (told,) = shell.json("close", order, "charge", "--note", "paid in cash", "--by", "ann")

    assert told == {
        "process": order,
        "step": "charge",
        "action": "closed",
        "is_change": True,
        "state": "failed",
        "process_state": "failed",
        "by": "ann",
    }
    closed = last(shell, order, EventKind.INCIDENT_CLOSED)
    assert (closed.detail, closed.by) == ("paid in cash", "ann")
    assert shell.shop.service.incidents() == []


def test_a_process_is_cancelled_with_a_reason(shell: Shell) -> None:
    order = shell.shop.order()

    (told,) = shell.json("cancel", order, "--reason", "customer left")

    assert (told["step"], told["action"], told["process_state"]) == (None, "cancelled", "cancelled")
    cancelled = last(shell, order, EventKind.STEP_CANCELLED)
    assert (cancelled.detail, cancelled.by) == ("customer left", ME)


def test_what_is_done_already_is_told_and_done_no_second_time(shell: Shell) -> None:
    order = shell.shop.order()
    shell("complete", order, "charge")
    shell("cancel", order)
    before = shell.shop.service.history(order)

    completed, cancelled = shell("complete", order, "charge"), shell("cancel", order)

    assert "step charge was completed already" in completed.stdout
    assert f"{order}: was cancelled already" in cancelled.stdout
    assert (completed.exit_code, cancelled.exit_code) == (0, 0)
    assert shell.shop.service.history(order) == before


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("retry", "charge"), "step 'charge' is completed and cannot be retried"),
        (("fail", "charge", "--error", "x"), "step 'charge' is completed and cannot be failed"),
        (("close", "charge"), "step 'charge' is completed and cannot be closed"),
    ],
)
def test_what_makes_no_sense_is_refused_with_exit_code_1(shell: Shell, command: tuple[str, ...], told: str) -> None:
    order = shell.shop.order()
    shell("complete", order, "charge")

    result = shell(command[0], order, *command[1:])

    assert (result.exit_code, result.stdout) == (1, "")
    assert told in result.stderr


def test_a_process_that_has_ended_is_not_cancelled(shell: Shell) -> None:
    order = shell.shop.order()
    for name in ("charge", "ship"):
        shell("complete", order, name)

    result = shell("cancel", order)

    assert result.exit_code == 1
    assert "is completed: nothing is left to cancel" in result.stderr
    assert shell.shop.service.get_process(order).state is ProcessState.COMPLETED


def test_the_business_key_names_the_process(shell: Shell) -> None:
    order, other = shell.shop.order(1), shell.shop.order(2)

    result = shell("complete", "--aggregate", "order-1", "ship")

    assert result.exit_code == 0, result.stderr
    assert step(shell, order, "ship").state is StepState.COMPLETED
    assert step(shell, other, "ship").state is StepState.PENDING


@pytest.mark.parametrize("bad", ["", "x" * 600, "two\nlines", "\udcff"])
def test_a_name_that_no_store_can_hold_is_refused(shell: Shell, bad: str) -> None:
    order = shell.shop.order()

    result = shell("complete", order, "charge", "--by", bad)

    assert result.exit_code == 2
    assert "Invalid value for '--by'" in result.stderr
    assert step(shell, order).state is StepState.PENDING


@pytest.mark.parametrize("bad", ["", "x" * 2_001, "\udcff", "a\x00b"])
def test_a_text_that_no_store_can_hold_is_refused(shell: Shell, bad: str) -> None:
    result = shell("fail", shell.shop.order(), "charge", "--error", bad)

    assert result.exit_code == 2
    assert "Invalid value for '--error'" in result.stderr


def test_a_failure_needs_a_reason(shell: Shell) -> None:
    assert shell("fail", shell.shop.order(), "charge").exit_code == 2


def test_a_script_is_not_asked(shell: Shell) -> None:
    """The runner's standard input is no terminal; on one, `tests/integration/test_cli_on_a_terminal.py`."""
    assert shell("cancel", shell.shop.order()).exit_code == 0
