"""`celery -A proj trellis` as people see it: colours, questions, and pictures that change."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.cluster import ROOT, Cluster
from tests.support.terminal import Terminal

APP = "tests.support.apps.outcomes"

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster]) -> Cluster:
    return start_cluster(APP)


@pytest.fixture
def process(cluster: Cluster) -> Any:
    return cluster.trellis.start_process(
        cluster.module.Work, tenant_id="clinic-7", aggregate_type="Referral", aggregate_id=uuid4().hex
    )


Typing = Callable[..., Terminal]


@pytest.fixture
def type_command(cluster: Cluster) -> Iterator[Typing]:
    """Type a command on a terminal."""
    terminals: list[Terminal] = []

    def typed(*arguments: str, **options: Any) -> Terminal:
        command = [sys.executable, "-m", "celery", "-A", APP, "trellis", *arguments]
        terminals.append(Terminal(command, directory=ROOT, **options))
        return terminals[-1]

    yield typed
    for terminal in terminals:
        terminal.__exit__(None, None, None)


def test_a_list_is_in_colours_and_its_ids_are_whole(process: Any, type_command: Typing) -> None:
    terminal = type_command("list", columns=80)

    assert terminal.exit_code() == 0
    assert "\x1b[36mpending" in terminal.raw
    assert process.id in terminal.text
    assert max(map(len, terminal.text.splitlines())) <= 80


def test_no_color_is_obeyed(process: Any, type_command: Typing) -> None:
    terminal = type_command("list", env={"NO_COLOR": "1"})

    assert terminal.exit_code() == 0
    assert process.id in terminal.text
    assert "\x1b[36m" not in terminal.raw


def test_a_page_has_a_timeline(cluster: Cluster, process: Any, type_command: Typing) -> None:
    cluster.trellis.processes.start_step(process.id, "work")

    terminal = type_command("show", process.id)

    assert terminal.exit_code() == 0
    assert "█ running" in terminal.text
    assert "› deadline in" in terminal.text


@pytest.mark.parametrize(
    ("answer", "code", "state"), [("y\r", 0, "cancelled"), ("n\r", 1, "pending"), ("\r", 1, "pending")]
)
def test_on_a_terminal_a_change_has_to_be_confirmed(
    process: Any, type_command: Typing, answer: str, code: int, state: str
) -> None:
    terminal = type_command("cancel", process.id)

    terminal.wait_for(f"Cancel 1 of 1 steps of Work {process.id}? [y/N]: ")
    terminal.press(answer)

    assert terminal.exit_code() == code
    assert process.refresh().state == state


def test_who_is_sure_is_not_asked(process: Any, type_command: Typing) -> None:
    terminal = type_command("complete", process.id, "work", "--yes", "--by", "ann")

    assert terminal.exit_code() == 0
    assert "[y/N]" not in terminal.text
    assert process.refresh().state == "completed"


def test_a_process_is_watched_until_it_ends(cluster: Cluster, process: Any, type_command: Typing) -> None:
    terminal = type_command("watch", process.id, "--interval", "0.1")
    terminal.wait_for("process_started")

    cluster.trellis.processes.start_step(process.id, "work")
    terminal.wait_for("step_started work attempt 1")
    cluster.trellis.processes.complete_step(process.id, "work")

    assert terminal.exit_code() == 0
    assert "process_completed" in terminal.text
    assert "\x1b[?25h" in terminal.raw, "the cursor is back"


def test_ctrl_c_ends_watching_and_gives_the_terminal_back(process: Any, type_command: Typing) -> None:
    terminal = type_command("watch")
    terminal.wait_for(process.id)

    terminal.press("\x03")

    assert terminal.exit_code() == 0
    assert "Traceback" not in terminal.text
    assert "\x1b[?25h" in terminal.raw, "the cursor is back"


def test_incidents_come_with_the_commands_to_copy(cluster: Cluster, process: Any, type_command: Typing) -> None:
    service = cluster.trellis.processes
    service.start_process(
        tenant_id="t", process_type="Late", aggregate_type="A", aggregate_id=uuid4().hex, steps=[_soon_late()]
    )
    late = service.list_processes()[0].id
    service.start_step(late, "step")
    for _ in range(100):
        cluster.trellis.timeouts.check_for_timed_out_steps()
        if service.incidents():
            break

    terminal = type_command("incidents", columns=60)

    assert terminal.exit_code() == 0
    assert f"celery -A {APP} trellis retry {late} step" in terminal.text


def _soon_late() -> Any:
    from trellis_celery import ProcessStep

    return ProcessStep("step", timeout_ms=1)


def test_bash_completes_commands_ids_and_steps(process: Any, tmp_path: Path) -> None:
    """With the script that `_CELERY_COMPLETE=bash_source celery` prints, in a real bash."""
    lines = [f"celery -A {APP} trellis complete {process.id[:9]}", f"celery -A {APP} trellis complete {process.id} w"]
    script = tmp_path / "complete.bash"
    script.write_text(
        'eval "$(_CELERY_COMPLETE=bash_source celery)"\n'
        "offer() { COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=(); "
        '_celery_completion celery; echo "${COMPREPLY[@]}"; }\n' + "".join(f'offer "{line}"\n' for line in lines)
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    offered = subprocess.run(
        ["bash", str(script)], cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
    )

    assert offered.stdout.splitlines() == [process.id, "work"]
