from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Shell
from trellis_celery.domain.step import ProcessStep


@pytest.mark.parametrize("command", ["show", "watch", "cancel", "graph"])
def test_a_process_is_not_named_twice(shell: Shell, command: str) -> None:
    order = shell.shop.order()

    result = shell(command, order, "--aggregate", "order-1")

    assert result.exit_code == 2
    assert "not by both" in result.stderr


def test_a_process_has_to_be_named(shell: Shell) -> None:
    result = shell("show")

    assert result.exit_code == 2
    assert "name a process: its id, or --aggregate" in result.stderr


@pytest.mark.parametrize("arguments", [(), ("--aggregate", "order-1")])
def test_a_step_has_to_be_named(shell: Shell, arguments: tuple[str, ...]) -> None:
    result = shell("retry", *arguments)

    assert result.exit_code == 2
    assert "Missing argument 'STEP'" in result.stderr


def test_a_process_without_its_step_is_told_apart_from_a_step(shell: Shell) -> None:
    assert "Missing argument 'STEP'" in shell("complete", shell.shop.order()).stderr


def test_of_the_processes_about_one_thing_the_live_one_is_meant(shell: Shell) -> None:
    shell("cancel", shell.shop.order(1))
    live = shell.shop.order(1)

    (shown,) = shell.json("show", "--aggregate", "order-1")

    assert shown["id"] == live


def test_where_several_fit_none_is_taken_and_all_are_named(shell: Shell) -> None:
    orders = [shell.shop.order(1)]
    shell("cancel", orders[0])
    shell.shop.clock.advance(1)
    orders.append(shell.shop.order(1))
    shell("cancel", orders[1])

    result = shell("show", "--aggregate", "order-1")

    assert result.exit_code == 1
    assert "several processes fit; name one by its id:" in result.stderr
    assert all(f"  {order}  Order, Order order-1, tenant berlin, cancelled" in result.stderr for order in orders)


def test_an_aggregate_that_nothing_is_about_is_a_short_error(shell: Shell) -> None:
    result = shell("show", "--aggregate", "order-9")

    assert (result.exit_code, result.stderr) == (1, "Error: no process is about 'order-9'\n")


def test_an_id_that_is_none_is_answered_with_where_to_look(shell: Shell) -> None:
    result = shell("show", "3-" + "0" * 32)

    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: no process has the id '3-{'0' * 32}'; `celery")
    assert "trellis list` shows those there are" in result.stderr


def test_the_id_of_an_aggregate_is_answered_with_its_process(shell: Shell) -> None:
    order = shell.shop.order(7)

    assert f"did you mean\n  {order}  Order, Order order-7" in shell("show", "order-7").stderr


@pytest.mark.parametrize("mistake", [lambda order: order[:6], lambda order: order[:-1], lambda order: order + "0"])
def test_a_part_of_an_id_is_answered_with_the_whole(shell: Shell, mistake: object) -> None:
    order = shell.shop.order()

    assert f"did you mean\n  {order}" in shell("show", mistake(order)).stderr  # type: ignore[operator]


def test_a_step_that_is_none_is_answered_with_the_nearest(shell: Shell) -> None:
    order = shell.shop.order()

    result = shell("complete", order, "chrage")

    assert result.exit_code == 1
    assert f"process {order} has no step 'chrage': did you mean charge? Its steps are charge, ship" in result.stderr


def test_no_error_names_thousands_of_steps(shell: Shell) -> None:
    order = shell.shop.order(steps=[ProcessStep(f"step-{number}") for number in range(1_000)])

    result = shell("complete", order, "xyz")

    assert "step-0, step-1," in result.stderr
    assert len(result.stderr) < 300


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\u202e", "line\nbreak", "\udcff", "x" * 5_000])
@pytest.mark.parametrize("command", [("show",), ("complete", "charge"), ("graph",)])
def test_hostile_names_are_answered_harmlessly(shell: Shell, command: tuple[str, ...], hostile: str) -> None:
    for arguments in ((hostile, *command[1:]), ("--aggregate", hostile, *command[1:])):
        result = shell(command[0], *arguments)

        assert result.exit_code in (1, 2)
        assert all(line.isprintable() for line in result.stderr.splitlines())
        assert len(result.stderr) < 1_000
