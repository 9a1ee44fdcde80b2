"""`make demo`, as somebody runs it who has just cloned the repository."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil
import pytest

from example_project.demo.children import Children
from example_project.demo.errors import DemoError

pytestmark = [pytest.mark.integration, pytest.mark.timeout(150)]

ROOT = Path(__file__).parents[2]
#: Every child inherits the environment, however it was started: so none can hide.
MARK = "TRELLIS_DEMO_TEST"


@pytest.fixture
def mark(request: pytest.FixtureRequest) -> Iterator[str]:
    """A word in the environment of all processes of this test. Ends what a failed test has left."""
    mark = f"{os.getpid()}-{request.node.name}"
    yield mark
    for process in _with_mark(mark):
        with contextlib.suppress(psutil.Error):
            process.kill()


def test_the_demo_rescues_every_lost_run_and_leaves_no_process_behind(mark: str) -> None:
    demo = _start(mark)

    output, _ = demo.communicate(timeout=120)

    assert demo.returncode == 0, output
    for step, lost in (
        ("check_insurance", "process killed"),
        ("request_records", "out of time"),
        ("book_appointment", "worker killed"),
    ):
        assert re.search(rf"{step} +{lost} +noticed after [\d.]+ m?s, finished by attempt 2", output), output
    assert "All 9 steps happened exactly once" in output
    assert "Traceback" not in output
    assert "\x1b[" not in output, "escape sequences are for terminals"
    assert _with_mark(mark) == []


@pytest.mark.parametrize("moment", ["starting beat", "KILLED the whole worker"])
def test_ctrl_c_leaves_no_process_behind(mark: str, moment: str) -> None:
    demo = _start(mark)
    assert demo.stdout is not None
    _read_until(demo.stdout, moment)
    assert len(_with_mark(mark)) > 1

    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=30)

    assert demo.returncode == 130, output
    assert "nothing was left running" in output
    assert "Traceback" not in output
    assert _with_mark(mark) == []


def test_a_server_that_does_not_answer_is_said_at_once(mark: str) -> None:
    started_at = time.monotonic()
    demo = _start(mark, "redis://127.0.0.1:1/0")

    output, _ = demo.communicate(timeout=30)

    assert demo.returncode == 1
    assert "the server at redis://127.0.0.1:1/0 does not answer" in output
    assert time.monotonic() - started_at < 20


def test_a_child_that_ends_early_is_told_with_its_last_words(tmp_path: Path) -> None:
    children = Children(tmp_path, os.environ)
    child = children.start("beat", sys.executable, "-c", "raise SystemExit('no such schedule')")
    child.process.wait()

    with pytest.raises(DemoError, match=r"(?s)beat ended with exit code 1.*no such schedule"):
        children.require_alive()

    children.stop()


def _start(mark: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "example_project.demo", *arguments],
        cwd=ROOT,
        env={**os.environ, MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _read_until(stream: IO[str], word: str) -> None:
    for line in stream:
        if word in line:
            return
    raise AssertionError(f"the demo ended before it said {word!r}")


def _with_mark(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
