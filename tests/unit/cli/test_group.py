from __future__ import annotations

import click
import pytest
from celery import Celery

from tests.unit.cli.conftest import Shell
from trellis_celery import errors
from trellis_celery.cli import trellis as group


@pytest.fixture
def commands() -> dict[str, click.Command]:
    return group.commands


def test_an_app_without_trellis_is_told_how_to_get_one(shell: Shell) -> None:
    shell.app = Celery("bare", set_as_current=False)

    result = shell("list")

    assert result.exit_code in (1, 2)
    assert "Traceback" not in result.stderr


def test_every_command_speaks_json(commands: dict[str, click.Command]) -> None:
    without = [name for name, command in commands.items() if "--json" not in _options(command)]

    assert without == []


def test_every_command_and_option_is_explained(commands: dict[str, click.Command]) -> None:
    for name, command in commands.items():
        assert command.help, name
        unexplained = [each.name for each in command.params if isinstance(each, click.Option) and not each.help]
        assert unexplained == [], name


def test_settings_that_make_no_sense_are_a_short_error(shell: Shell) -> None:
    shell.app.conf.trellis_check_interval_ms = "often"

    result = shell("stats")

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: trellis_check_interval_ms must be a whole number")


def test_an_error_cannot_drive_the_terminal(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise errors.StoreError("\x1b[2J said the server")

    monkeypatch.setattr(shell.shop.store, "list_processes", fails)

    result = shell("list")

    assert (result.exit_code, result.stderr) == (1, "Error: ?[2J said the server\n")


def test_options_that_the_team_has_added_to_every_command_do_not_break_ours(shell: Shell) -> None:
    """Celery adds those of `user_options["preload"]` to this group, as to every other."""
    tenant = click.Option(["--zone"], default="eu")
    shell.app.user_options["preload"].add(tenant)
    group.params.append(tenant)
    try:
        result = shell("--zone", "us", "list")
    finally:
        group.params.remove(tenant)

    assert (result.exit_code, result.stdout) == (0, "No processes.\n")


def _options(command: click.Command) -> list[str]:
    return [name for param in command.params for name in param.opts]
