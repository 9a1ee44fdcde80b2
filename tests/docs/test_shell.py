"""The page of the shell lists the commands and options that there are, and the keys of their JSON."""

from __future__ import annotations

import re
from pathlib import Path

from trellis_celery import Event, EventKind, Process, ProcessStep, ProcessSummary
from trellis_celery.cli import data, trellis
from trellis_celery.domain.queries import Incident, Stats
from trellis_celery.ports import LastCheck

PAGE = (Path(__file__).parents[2] / "docs/reference/shell.md").read_text()

EVENT = Event(EventKind.STEP_STARTED, "s", 1, 1)

#: Every command has these.
EVERYWHERE = {"--json", "--help"}


def _rows(heading: str) -> list[list[str]]:
    section = PAGE[PAGE.index(f"\n## {heading}\n") :]
    _, _, *rows = section[section.index("\n| command") + 1 :].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def _options(name: str) -> set[str]:
    command = trellis.commands[name]
    return {opt for param in command.params for opt in param.opts if opt.startswith("--")} - EVERYWHERE


def test_the_page_lists_every_command_with_its_options() -> None:
    listed = {row[0].strip("`"): set(re.findall(r"`(--[\w-]+)`", row[2])) for row in _rows("Commands")}

    assert listed == {name: _options(name) for name in trellis.commands}


def _process() -> Process:
    return Process.start(
        tenant_id="t", process_type="P", aggregate_type="A", aggregate_id="1", steps=[ProcessStep("s")]
    )


def test_the_page_lists_the_keys_of_json() -> None:
    keys = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[2])) for row in _rows("JSON")}
    process = _process()

    assert keys["list"] == set(data.of_summary(ProcessSummary.of(process)))
    assert keys["show"] - {"is_archived", "history"} == set(data.of_process(process, arguments={}))
    assert keys["watch"] == set(data.of_event(EVENT, process_id=process.id))
    assert keys["stats"] == set(data.of_stats(Stats(processes={}), LastCheck()))
    incident = Incident(process=ProcessSummary.of(process), step=process.step("s"), since_ms=1, reason="")
    assert keys["incidents"] == set(data.of_incident(incident, next_commands=[]))
