"""What the tab key offers, asked as a shell asks: through Celery's own command, with the app as `-A` names it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from celery.bin.celery import celery
from click.shell_completion import CompletionItem, ShellComplete

from tests.unit.cli.conftest import Shell
from trellis_celery import ProcessType, Step

Complete = Callable[..., list[str]]


class OfferedOrder(ProcessType):
    """What the tab key offers for `--type`."""

    charge = Step()


@pytest.fixture
def app_module(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that `-A offered_shop` names."""
    module = ModuleType("offered_shop")
    module.app = shell.app  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "offered_shop", module)
    return module


def items(*words: str) -> list[CompletionItem]:
    """What is offered for the last word."""
    completer = ShellComplete(celery, {"auto_envvar_prefix": "CELERY"}, "celery", "_CELERY_COMPLETE")
    return list(completer.get_completions(list(words[:-1]), words[-1]))


@pytest.fixture
def complete(app_module: ModuleType) -> Complete:
    def offered(*words: str) -> list[str]:
        return [item.value for item in items("-A", "offered_shop", "trellis", *words)]

    return offered


def test_commands_are_offered(complete: Complete) -> None:
    assert {"list", "show", "watch", "stats", "incidents", "check", "retry", "graph"} <= set(complete(""))


@pytest.mark.parametrize("command", ["show", "watch", "cancel", "retry", "complete", "fail", "close", "graph"])
def test_ids_are_offered_wherever_a_process_is_named(shell: Shell, complete: Complete, command: str) -> None:
    order = shell.shop.order()

    assert order in complete(command, "")
    assert complete(command, order[:8]) == [order]
    assert complete(command, "x") == []


def test_an_id_comes_with_what_it_is_about(shell: Shell, complete: Complete) -> None:
    order = shell.shop.order(7)

    (item,) = [item for item in items("-A", "offered_shop", "trellis", "show", "") if item.value == order]

    assert item.help == "Order Order order-7 pending"


def test_the_newest_come_first(shell: Shell, complete: Complete) -> None:
    older = shell.shop.order(1)
    shell.shop.clock.advance(1)
    newer = shell.shop.order(2)

    assert complete("show", "") == [newer, older]


def test_only_steps_are_offered_of_which_the_command_can_make_something(shell: Shell, complete: Complete) -> None:
    order = shell.shop.order()
    shell.shop.give_up_on(order)

    assert complete("retry", order, "") == ["charge"]
    assert complete("close", order, "") == ["charge"]
    assert complete("complete", order, "") == ["charge", "ship"]
    assert complete("fail", order, "s") == ["ship"]


def test_steps_are_offered_of_the_process_that_the_business_key_names(shell: Shell, complete: Complete) -> None:
    shell.shop.order(3)

    assert complete("complete", "--aggregate", "order-3", "") == ["charge", "ship"]
    assert complete("complete", "--aggregate", "order-4", "") == []


def test_types_tenants_aggregates_and_states_are_offered(shell: Shell, complete: Complete) -> None:
    shell.shop.order(3)

    assert {"Order", "OfferedOrder"} <= set(complete("list", "--type", ""))
    assert complete("list", "--tenant", "b") == ["berlin"]
    assert complete("list", "--aggregate", "") == ["order-3"]
    assert complete("list", "--state", "c") == ["completed", "cancelled"]
    assert complete("graph", "Offered") == ["OfferedOrder"]


@pytest.mark.parametrize("hostile", ["$(reboot)", "`reboot`", "a;b", "a b", "-rf", "'", "a\u202eb", "~root", "*"])
def test_nothing_is_offered_that_a_shell_would_read_as_more_than_a_word(
    shell: Shell, complete: Complete, hostile: str
) -> None:
    shell.shop.service.start_process(
        tenant_id=hostile, process_type="Order", aggregate_type="Order", aggregate_id=hostile, steps=shell.shop.a_step()
    )

    assert complete("list", "--tenant", "") == complete("list", "--aggregate", "") == []


def test_names_of_every_script_are_offered(shell: Shell, complete: Complete) -> None:
    shell.shop.service.start_process(
        tenant_id="診療所", process_type="Order", aggregate_type="Order", aggregate_id="1", steps=shell.shop.a_step()
    )

    assert complete("list", "--tenant", "") == ["診療所"]


@pytest.mark.parametrize("app", ["no_such_module", "sys"])
def test_an_app_that_cannot_be_found_offers_nothing(app: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert items("-A", app, "trellis", "show", "") == []
    assert capsys.readouterr().out == ""


def test_without_an_app_nothing_is_offered(complete: Complete) -> None:
    assert items("trellis", "show", "") == []


def test_a_store_that_does_not_answer_offers_nothing(
    shell: Shell, complete: Complete, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("connection refused")

    monkeypatch.setattr(shell.shop.store, "list_processes", fails)

    assert complete("show", "") == []


def test_what_an_app_prints_as_it_is_imported_is_not_read_by_the_shell(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "chatty_shop.py").write_text("print('welcome!')\nraise SystemExit(1)")
    monkeypatch.syspath_prepend(tmp_path)

    assert items("-A", "chatty_shop", "trellis", "show", "") == []
    assert capsys.readouterr().out == ""
