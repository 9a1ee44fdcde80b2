"""What the operations guide tells people to type, to look for and to set is there."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from docs.grafana.panels import ROWS
from trellis_celery.cli import trellis
from trellis_celery.monitoring.metrics import ALL
from trellis_celery.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/howto/operating.md").read_text()
SOURCE = "".join(path.read_text() for path in (ROOT / "trellis_celery").rglob("*.py"))

COMMANDS = sorted(set(re.findall(r"celery -A proj trellis ([^`#\n]+)", PAGE)))


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_on_the_page_is_one_that_there_is(line: str) -> None:
    name, *arguments = shlex.split(line)

    command = trellis.commands[name]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("-")} <= options


def test_most_commands_are_seen() -> None:
    assert {line.split()[0] for line in COMMANDS} >= {"doctor", "stats", "check", "incidents", "show", "retry"}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(\w+_\w+)`", PAGE))))
def test_a_name_on_the_page_is_one_that_there_is(name: str) -> None:
    settings = {PREFIX + field.name for field in fields(Settings)}
    series = {metric.name for metric in ALL}
    of_others = {"worker_max_memory_per_child", "visibility_timeout", "job_name", "in_progress", "runbook_url"}

    assert name in settings | series | of_others or re.search(rf"\b{name}\b", SOURCE), name


def test_a_panel_that_the_page_sends_people_to_is_in_the_dashboard() -> None:
    words = {title for panels in ROWS.values() for title in (panel.title for panel in panels)}
    words |= {legend for panels in ROWS.values() for panel in panels for legend in panel.queries}

    sent_to = {"Timed out, by step", "a further copy", "Clocks due", "Age of the last check"}

    assert all(f"*{name}*".lower() in PAGE.lower() for name in sent_to)
    assert sent_to <= words


def test_every_alarm_has_something_to_look_at_and_something_to_do() -> None:
    sections = re.split(r"^### ", PAGE[PAGE.index("\n## Alarms") :], flags=re.MULTILINE)[1:]

    assert sections
    for section in sections:
        assert section.split("\n")[2].startswith("*"), section
        assert "\n**Look at** " in section, section
        assert "\n**Do** " in section, section
