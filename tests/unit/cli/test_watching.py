"""What ends by itself; the rest needs a terminal or a signal: `tests/integration/test_cli_on_a_terminal.py`."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.unit.cli.conftest import Shell
from trellis_celery import errors
from trellis_celery.cli.ending import Ending


def complete_all(shell: Shell, order: str) -> None:
    for name in ("charge", "ship"):
        shell.shop.service.complete_step(order, name)


def test_a_process_that_was_completed_is_exit_code_0(shell: Shell) -> None:
    order = shell.shop.order()
    complete_all(shell, order)

    result = shell("watch", order)

    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].endswith("process_completed")


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_process_that_came_to_nothing_is_exit_code_1(shell: Shell, end: str) -> None:
    order = shell.shop.order()
    shell("cancel", order) if end == "cancelled" else shell("fail", order, "ship", "--error", "no stock")

    result = shell("watch", order)

    assert (result.exit_code, result.stderr) == (1, f"Error: process {order} is {end}\n")


def test_events_are_lines_of_json(shell: Shell) -> None:
    order = shell.shop.order()
    complete_all(shell, order)

    kinds = [event["kind"] for event in shell.json("watch", order)]

    assert kinds == ["process_started", "step_completed", "step_completed", "process_completed"]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have things happen while `watch` waits for its next look, one after the other."""

    def happen(*things: Callable[[], object]) -> None:
        waiting = iter(things)
        comes_within = Ending.comes_within

        def then(ending: Ending, _seconds: float) -> bool:
            next(waiting)()
            return comes_within(ending, 0)

        monkeypatch.setattr(Ending, "comes_within", then)

    return happen


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def test_a_process_is_watched_until_it_ends(shell: Shell, meanwhile: Callable[..., None]) -> None:
    order = shell.shop.order()
    meanwhile(lambda: None, lambda: complete_all(shell, order))

    result = shell("watch", "--aggregate", "order-1")

    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 4


def test_ctrl_c_before_the_end_is_exit_code_130(shell: Shell, meanwhile: Callable[..., None]) -> None:
    order = shell.shop.order()
    meanwhile(interrupt)

    assert shell("watch", order).exit_code == 130


def test_ctrl_c_is_how_a_look_at_all_processes_ends(shell: Shell, meanwhile: Callable[..., None]) -> None:
    order = shell.shop.order()
    meanwhile(lambda: shell.shop.service.complete_step(order, "ship"), interrupt)

    result = shell("watch")

    assert result.exit_code == 0
    assert [line.rpartition(": ")[2] for line in result.stdout.splitlines()] == [
        "pending, 0/2 steps",
        "in_progress, 1/2 steps",
    ]


def test_a_store_that_is_away_is_told_once_and_waited_for(
    shell: Shell, meanwhile: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    order = shell.shop.order()

    def go_away() -> None:
        def unavailable(process_id: str) -> None:
            raise errors.StoreUnavailable("the store does not answer")

        monkeypatch.setattr(shell.shop.store, "load", unavailable)

    meanwhile(
        go_away,
        lambda: None,
        lambda: monkeypatch.delattr(shell.shop.store, "load"),
        lambda: complete_all(shell, order),
    )

    result = shell("watch", order)

    assert result.exit_code == 0
    assert result.stderr == "the store does not answer; trying again\nThe store answers again.\n"


def test_a_store_that_is_away_from_the_start_is_an_error(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(*_: object, **__: object) -> None:
        raise errors.StoreUnavailable("the store does not answer")

    monkeypatch.setattr(shell.shop.store, "list_processes", unavailable)

    result = shell("watch")

    assert (result.exit_code, result.stderr) == (1, "Error: the store does not answer\n")
