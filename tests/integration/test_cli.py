"""`celery -A proj trellis` as people type it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.cluster import ROOT, Cluster
from tests.support.waiting import eventually
from trellis_celery import ProcessStep

APP = "tests.support.apps.outcomes"

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster]) -> Cluster:
    return start_cluster(APP)


@pytest.fixture(scope="module")
def process(cluster: Cluster) -> Any:
    return cluster.trellis.start_process(
        cluster.module.Work, tenant_id="clinic-7", aggregate_type="Referral", aggregate_id="ref-1"
    )


def celery(*arguments: str, app: str | None = APP, **env: str) -> subprocess.CompletedProcess[str]:
    which = () if app is None else ("-A", app)
    return subprocess.run(
        [sys.executable, "-m", "celery", *which, "trellis", *arguments],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_list_shows_the_process_and_json_has_all_of_it(process: Any) -> None:
    listed = celery("list")
    as_json = celery("list", "--json", "--state", "pending")

    assert process.id in listed.stdout
    assert "Referral ref-1" in listed.stdout
    (found,) = map(json.loads, as_json.stdout.splitlines())
    assert (found["id"], found["steps"]) == (process.id, {"pending": 1})


def test_the_list_is_narrowed_and_paged(cluster: Cluster, process: Any) -> None:
    others = [
        cluster.trellis.start_process(
            cluster.module.Work, tenant_id="clinic-8", aggregate_type="Referral", aggregate_id=f"ref-{number}"
        ).id
        for number in range(3)
    ]

    def ids(*arguments: str) -> list[str]:
        return [json.loads(line)["id"] for line in celery("list", "--json", *arguments).stdout.splitlines()]

    assert set(ids("--tenant", "clinic-8")) == set(others)
    assert ids("--aggregate", "ref-1", "--aggregate-type", "Referral", "--tenant", "clinic-7") == [process.id]
    assert ids("--overdue") == ids("--type", "Nothing") == ids("--before", "2001-01-01") == []
    page = celery("list", "--tenant", "clinic-8", "--limit", "2")
    after = page.stderr.split("--after ")[1].strip()
    assert len(ids("--tenant", "clinic-8", "--after", after)) == 1


def test_a_filter_that_makes_no_sense_is_a_short_error(cluster: Cluster) -> None:
    for arguments in (("--state", "completed", "--overdue"), ("--aggregate-type", "Referral"), ("--after", "x")):
        listed = celery("list", *arguments)

        assert listed.returncode != 0
        assert "Error: " in listed.stderr
        assert "Traceback" not in listed.stderr


def test_redis_needs_no_migration(cluster: Cluster) -> None:
    migrated = celery("migrate")

    assert migrated.returncode == 0
    assert migrated.stdout.strip().endswith("nothing to make")


def test_one_process_is_shown_with_its_steps_and_its_history(process: Any) -> None:
    shown = celery("show", process.id)
    as_json = json.loads(celery("show", process.id, "--json").stdout)

    assert shown.returncode == 0
    assert "process_started" in shown.stdout
    assert as_json["history"][0]["kind"] == "process_started"


def test_a_check_tells_what_it_did(process: Any) -> None:
    checked = celery("check", "--json")

    assert json.loads(checked.stdout) == {
        "retried": 0,
        "backed_off": 0,
        "resent": 0,
        "gave_up": 0,
        "alerted": 0,
        "failed": 0,
    }


@pytest.mark.parametrize("process_id", ["3-" + "0" * 32, "nonsense", "{}*"])
def test_a_process_that_is_not_there_is_a_short_error(cluster: Cluster, process_id: str) -> None:
    shown = celery("show", process_id)

    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr.startswith(f"Error: no process has the id {process_id!r}; ")
    assert "trellis list" in shown.stderr


def test_without_an_app_the_command_says_how_to_name_one() -> None:
    listed = celery("list", app=None)

    assert listed.returncode == 2
    assert "celery -A proj trellis list" in listed.stderr


def test_an_app_without_trellis_is_told_how_to_get_one() -> None:
    listed = celery("list", app="tests.support.apps.bare")

    assert listed.returncode == 1
    assert listed.stderr == "Error: the app 'bare' has no Trellis: make one beside it, `trellis = Trellis(app)`\n"


@pytest.mark.parametrize(
    "command", [("list",), ("stats",), ("incidents",), ("watch",), ("check",), ("show", "3-" + "0" * 32)]
)
def test_no_command_hangs_on_a_store_that_does_not_answer(cluster: Cluster, command: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        asked = celery(*command, TRELLIS_TEST_APP_REDIS=f"redis://127.0.0.1:{silent.getsockname()[1]}")

    assert asked.returncode == 1
    assert "Error: the store does not answer" in asked.stderr
    assert "Traceback" not in asked.stderr
    assert time.monotonic() - began < 15, "the limit is 2 s; the rest is for a slow machine to start Python"


def test_an_unreachable_store_is_a_short_error_and_no_traceback(cluster: Cluster) -> None:
    listed = celery("list", TRELLIS_TEST_APP_REDIS="redis://127.0.0.1:1")

    assert listed.returncode == 1
    assert listed.stderr.startswith("Error: the store does not answer")
    assert "Traceback" not in listed.stderr


def test_a_state_that_is_none_is_refused_with_the_ones_there_are(cluster: Cluster) -> None:
    listed = celery("list", "--state", "lost")

    assert listed.returncode == 2
    assert "in_progress" in listed.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_loop_checks_until_it_is_told_to_stop(cluster: Cluster, number: int) -> None:
    process = cluster.trellis.processes.start_process(
        tenant_id="t",
        process_type="Late",
        aggregate_type="A",
        aggregate_id=str(number),
        steps=[ProcessStep("step", timeout_ms=300)],
    )
    with running("check", "--loop", "--interval", "0.2", "--json") as loop:
        assert loop.stderr is not None
        assert loop.stderr.readline() == "Checking every 0.2 s until SIGINT or SIGTERM.\n"
        cluster.trellis.processes.start_step(process, "step")
        eventually(lambda: cluster.trellis.get_process(process.id).state == "failed", within_s=20, what="given up")
        loop.send_signal(number)
        out, err = loop.communicate(timeout=20)

    assert loop.returncode == 0
    assert [json.loads(line)["gave_up"] for line in out.splitlines()] == [1]
    assert "Traceback" not in err


def test_what_is_watched_in_a_pipe_is_a_line_for_each_event(cluster: Cluster) -> None:
    process = cluster.trellis.start_process(
        cluster.module.Work, tenant_id="clinic-7", aggregate_type="Referral", aggregate_id="watched"
    )
    with running("watch", "--aggregate", "watched", "--interval", "0.1", "--json") as watch:
        assert watch.stdout is not None
        assert json.loads(watch.stdout.readline())["kind"] == "process_started"
        process.complete_step("work", by="ann")
        completed = json.loads(watch.stdout.readline())
        rest = watch.stdout.read()
        assert watch.wait(20) == 0

    assert (completed["kind"], completed["step"], completed["by"]) == ("step_completed", "work", "ann")
    assert [json.loads(line)["kind"] for line in rest.splitlines()] == ["process_completed"]


def test_a_pipe_that_is_closed_early_is_no_traceback(process: Any) -> None:
    command = f"{sys.executable} -m celery -A {APP} trellis show {process.id} | head -1"

    shown = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert process.id in shown.stdout
    assert "Traceback" not in shown.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_what_does_not_fit_on_the_disk_is_no_traceback(process: Any, form: tuple[str, ...], unbuffered: str) -> None:
    command = [sys.executable, "-m", "celery", "-A", APP, "trellis", "show", process.id, *form]
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}

    with open("/dev/full", "w") as full:
        shown = subprocess.run(
            command, cwd=ROOT, env=env, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )

    assert shown.returncode == 1
    assert shown.stderr == "Error: this could not all be written: No space left on device\n"


def test_without_rich_everything_is_there_in_plain_text(process: Any) -> None:
    """As with `pip install trellis-celery`, without the extra `cli`."""
    program = "import sys; sys.modules['rich'] = None; from celery.__main__ import main; main()"
    command = [sys.executable, "-c", program, "-A", APP, "trellis", "show", process.id]

    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert shown.returncode == 0
    assert process.id in shown.stdout


def test_where_only_ascii_can_be_written_pictures_are_drawn_in_it(cluster: Cluster) -> None:
    process = cluster.trellis.start_process(
        cluster.module.Work, tenant_id="clinic-7", aggregate_type="Referral", aggregate_id="ascii"
    )
    cluster.trellis.processes.start_step(process.id, "work")

    shown = celery("show", process.id, PYTHONIOENCODING="ascii")

    assert shown.returncode == 0
    assert "= running" in shown.stdout


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on; it is gone when the test is."""
    command = [sys.executable, "-m", "celery", "-A", APP, "trellis", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            yield program
        finally:
            program.kill()
