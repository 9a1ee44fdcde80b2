"""The page of the shell lists the commands and options that there are, and the keys of their JSON."""

from __future__ import annotations

import re
from pathlib import Path

from trellis_celery import Event, EventKind, Process, ProcessStep, ProcessSummary
from trellis_celery.cli import data, trellis
from trellis_celery.domain.queries import EventGroup, Incident, ProcessGroup, Stats
from trellis_celery.ports import LastCheck
from trellis_celery.services.history import HistoryReport
from trellis_celery.services.relay import RelayReport
from trellis_celery.services.timeouts import CheckReport

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


def _nested() -> dict[str, set[str]]:
    section = PAGE[PAGE.index("\n| within | keys |") :]
    rows = (re.match(r"\| (.*?) \| (.*) \|", row) for row in section.strip().partition("\n\n")[0].splitlines()[2:])
    return {row[1]: set(re.findall(r"`(\w+)`", row[2])) for row in rows if row is not None}


def test_the_page_lists_the_keys_within() -> None:
    keys = _nested()
    process = _process()
    summary = ProcessSummary.of(process)
    shown = data.of_process(process, arguments={"s": "()"})
    counted = Stats(processes={ProcessGroup.of(summary): 1}, events={EventGroup("P", "s", EventKind.STEP_STARTED): 1})
    stats = data.of_stats(counted, LastCheck())

    assert keys["each of the `steps` of `show`"] == set(shown["steps"][0])
    assert keys["each of the `processes` of `stats`"] == set(stats["processes"][0])
    assert keys["each of the `events` of `stats`"] == set(stats["events"][0])
    assert keys["`last_check` of `stats`"] == set(stats["last_check"])
    assert keys["`lateness` of `stats`"] == set(stats["lateness"])


def test_the_page_lists_the_keys_of_every_pass() -> None:
    keys = {row[0].strip("`"): re.findall(r"`(\w+)`", row[2]) for row in _rows("JSON")}

    for command, report in {"check": CheckReport, "relay": RelayReport, "archive": HistoryReport}.items():
        assert keys[command] == list(report.__struct_fields__)


def test_every_command_that_has_json_of_its_own_is_on_the_page() -> None:
    listed = {name for row in _rows("JSON") for name in re.findall(r"`(\w+)`", row[0])}

    assert listed == set(trellis.commands)
