"""A Flower that nobody knows, or that is not there: it starts without the tab, and somebody is told."""

from __future__ import annotations

import logging
import sys

import click
import pytest
from celery import Celery
from flower import urls

from tests.support import logged
from trellis_celery import Trellis, errors, flower
from trellis_celery.cli import flower_tab
from trellis_celery.flower.templates import with_tab


def command_line(name: str) -> click.Context:
    """Celery's command line, while it imports the app for this command."""
    context = click.Context(click.Group("celery"))
    context.invoked_subcommand = name
    return context


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "handlers", ())


@pytest.mark.usefixtures("unknown")
def test_a_flower_that_is_made_in_another_way_is_refused_and_left_as_it_is() -> None:
    before = dict(urls.settings)

    for _ in range(2):  # an app each, in one program
        with pytest.raises(errors.ConfigurationError, match="this release of Flower is not known"):
            flower.install()

    assert (urls.handlers, urls.settings) == ((), before)


@pytest.mark.usefixtures("unknown")
def test_flower_starts_without_the_tab_rather_than_not_at_all(caplog: pytest.LogCaptureFixture) -> None:
    with command_line("flower"), caplog.at_level(logging.WARNING):
        Trellis(Celery(set_as_current=False))

    assert logged.events(caplog) == ["flower_tab_missing"]


@pytest.mark.usefixtures("unknown")
@pytest.mark.parametrize("name", ["worker", "beat", "trellis"])
def test_other_commands_have_nothing_to_do_with_flower(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with command_line(name), caplog.at_level(logging.WARNING):
        Trellis(Celery(set_as_current=False))

    assert caplog.records == []
    assert flower_tab.show_in_flower.__name__ in [tell.__name__ for tell in flower_tab.extension.on_made]


def test_without_flower_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flower", None)
    monkeypatch.delitem(sys.modules, "trellis_celery.flower.routes", raising=False)

    with pytest.raises(errors.ConfigurationError, match=r"pip install 'trellis-celery\[flower\]'"):
        flower.install()


def test_a_navigation_bar_that_nobody_knows_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    navbar = "<nav><a href=\"{{ reverse_url('tasks') }}\">Tasks</a></nav>"

    assert with_tab(navbar) == navbar
    assert logged.events(caplog) == ["flower_navbar_unknown"]
