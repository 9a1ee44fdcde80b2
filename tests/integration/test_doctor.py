"""`celery -A proj trellis doctor` as people type it, beside real workers and a real beat."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.cluster import ROOT, Cluster
from tests.support.examining import close, level, made, said
from tests.support.waiting import eventually
from trellis_celery import ProcessType, Step
from trellis_celery.doctor import CHECKS, Level
from trellis_celery.stores.sqlalchemy import schema
from trellis_celery.stores.sqlalchemy.connect import engine_for

APP = "tests.support.apps.ward"

pytestmark = pytest.mark.integration


def doctor(*options: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "celery", "-A", APP, "trellis", "doctor", *options]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False
    )


def findings(*options: str, **env: str) -> dict[str, dict[str, str]]:
    """By check, of several of one check the worst."""
    lines = [json.loads(line) for line in doctor("--json", *options, **env).stdout.splitlines()]
    return {line["check"]: line for line in reversed(lines)}


def of_workers(check: str, **env: str) -> dict[str, str]:
    """The worst finding of this check, as soon as the worker that was just started answers."""
    return eventually(lambda: findings(**env).get(check), within_s=30, what=f"a finding of {check}")


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster], valkey_server: str) -> Iterator[Cluster]:
    """On a server that keeps what it is told."""
    with redis.Redis.from_url(valkey_server, decode_responses=True) as client:
        before = client.config_get("appendonly")
        client.config_set("appendonly", "yes")
        yield start_cluster(APP)
        for name, value in before.items():
            client.config_set(name, value)


@pytest.fixture
def programs(cluster: Cluster) -> Iterator[None]:
    """What the test starts is killed at its end."""
    before = len(cluster.programs)
    yield
    for program in cluster.programs[before:]:
        program.kill()


def test_without_workers_and_beat_it_says_first_what_matters_most(cluster: Cluster) -> None:
    examined = doctor()

    lines = examined.stdout.splitlines()
    assert examined.returncode == 1, examined.stderr
    assert lines[0].startswith("1 problem, ")
    assert lines[2] == "PROBLEM check-age"
    assert lines[3] == "  nobody has ever looked for late steps"
    assert lines[5].startswith(f"  → Start celery -A {APP} beat, ")
    assert "WARNING workers-answer" in lines
    assert "\x1b" not in examined.stdout
    assert "Traceback" not in examined.stderr


def test_a_program_gets_a_line_of_json_for_each_finding_the_worst_first(cluster: Cluster) -> None:
    examined = doctor("--json")

    lines = [json.loads(line) for line in examined.stdout.splitlines()]
    assert examined.returncode == 1
    assert {frozenset(line) for line in lines} == {frozenset(("check", "level", "about", "found", "why", "advice"))}
    levels = [line["level"] for line in lines]
    assert levels == sorted(levels, key=["problem", "warning", "note", "ok"].index)
    assert {line["check"] for line in lines} <= set(CHECKS)
    assert all(line["why"] and line["advice"] for line in lines if line["level"] in ("problem", "warning"))


@pytest.mark.usefixtures("programs")
def test_where_nothing_is_wrong_even_the_strict_are_content(cluster: Cluster) -> None:
    cluster.worker(name="healthy")
    cluster.beat()
    eventually(lambda: cluster.trellis.store.last_check().by.startswith("beat"), what="a check by beat")
    assert of_workers("workers-track")

    examined = doctor("--strict", "--all")

    assert examined.returncode == 0, examined.stdout
    assert examined.stdout.startswith("no problems, no warnings, ")
    assert "OK workers-answer\n  1 worker: healthy@test\n" in examined.stdout
    assert "OK check-age" in examined.stdout


def test_a_warning_is_only_for_the_strict(cluster: Cluster) -> None:
    with cluster.trellis.store.client.pipeline() as pipe:  # somebody has just checked, but there are no workers
        store_now_ms = cluster.trellis.store.now_ms()
        pipe.hset("trellis:last_check", mapping={"at_ms": store_now_ms + 60_000, "by": "me", "leases_count_from_ms": 0})
        pipe.execute()

    assert doctor().returncode == 0
    assert doctor("--strict").returncode == 1
    cluster.trellis.store.client.delete("trellis:last_check")


@pytest.mark.fault("C2")
@pytest.mark.usefixtures("programs")
def test_a_check_that_workers_made_in_place_of_beat_is_a_warning(cluster: Cluster) -> None:
    cluster.worker(name="stand-in")
    eventually(lambda: cluster.trellis.store.last_check().by.startswith("worker"), what="a check by a worker")

    finding = findings()["check-age"]

    assert finding["level"] == "warning"
    assert "worker stand-in@test in place of beat" in finding["found"]


#: Options and environment of a worker, and what is told of it: check -> level and words.
ODD_WORKERS = [
    (
        {"pool": "threads"},
        {"TRELLIS_TEST_VERSION": "0.0.9", "TRELLIS_TEST_SETTINGS": "trellis_events_exchange=x"},
        {
            "workers-pool": ("warning", "odd@test (thread)"),
            "workers-version": ("warning", "odd@test (0.0.9)"),
            "workers-settings": ("note", "trellis_events_exchange is x in odd@test, not set here"),
        },
    ),
    (
        {"pool": "solo", "queue": "other"},
        {"TRELLIS_TEST_STORE": "redis://:x@127.0.0.1:1/5"},
        {
            "workers-pool": ("warning", "odd@test (solo)"),
            "workers-queues": ("warning", "no worker reads ward"),
            "workers-settings": ("warning", "trellis_url is redis://**@127.0.0.1:1/5 in odd@test"),
        },
    ),
    (
        {"pool": "solo"},
        {"TRELLIS_TEST_SETTINGS": "trellis_signing_key=a-key-that-nobody-guesses"},
        {"workers-signing": ("problem", "another trellis_signing_key, or none: odd@test")},
    ),
]


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(("options", "env", "told"), ODD_WORKERS)
def test_a_worker_that_differs_from_what_is_seen_here_is_told(
    cluster: Cluster, options: dict[str, str], env: dict[str, str], told: dict[str, tuple[str, str]]
) -> None:
    queue = options.get("queue", "ward")
    cluster.worker("-Q", queue, name="odd", pool=options["pool"], concurrency=1, env=env)
    assert of_workers("workers-track")["level"] == "ok"

    found = findings()

    assert {check: found[check]["level"] for check in told} == {check: level for check, (level, _) in told.items()}
    for check, (_, words) in told.items():
        assert words in found[check]["found"]


@pytest.mark.usefixtures("programs")
def test_a_time_limit_of_the_worker_is_one_of_its_tasks(cluster: Cluster) -> None:
    assert findings(TRELLIS_TEST_TIME_LIMIT="0")["steps-time-limit"]["level"] == "warning"

    cluster.worker("--time-limit", "45", name="limited", env={"TRELLIS_TEST_TIME_LIMIT": "0"})

    assert of_workers("workers-track", TRELLIS_TEST_TIME_LIMIT="0")
    assert findings(TRELLIS_TEST_TIME_LIMIT="0")["steps-time-limit"]["level"] == "ok"


def test_a_worker_that_runs_steps_without_trellis_is_a_problem(start_cluster: Callable[..., Cluster]) -> None:
    untracked = start_cluster("tests.support.apps.ward_untracked")
    untracked.worker(name="blind")

    finding = of_workers("workers-track")

    untracked.close()
    assert finding["level"] == "problem"
    assert "blind@test" in finding["found"]


# Schedules


def _in_django(directory: Path, statements: str) -> dict[str, str]:
    """The environment of an app whose entries django-celery-beat keeps, after these statements."""
    env = {
        "DJANGO_SETTINGS_MODULE": "tests.support.apps.django_settings",
        "TRELLIS_TEST_SQLITE": str(directory / "beat.sqlite"),
    }
    program = (
        "import django; django.setup();"
        "from django.core.management import call_command; call_command('migrate', verbosity=0);"
        "from django_celery_beat.models import PeriodicTask, IntervalSchedule;"
        "every = IntervalSchedule.objects.create(every=1, period='seconds');"
        "row = PeriodicTask(name='trellis-check-timeouts', task='trellis_celery.check_timeouts', interval=every);"
    )
    where = {**os.environ, **env, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", f"{program}{statements}; row.save()"], env=where, check=True, timeout=60)
    return env


@pytest.mark.parametrize(
    ("statements", "entry", "interval"),
    [
        ("row.enabled = False", "is disabled in django-celery-beat", "every 1 s"),
        ("every.every = 0; every.save()", "without any pause by django-celery-beat", "every 0 ms"),
        ("every.every = 90; every.save()", "is in the beat schedule", "every 1.5 min"),
    ],
)
def test_what_somebody_did_to_the_entry_in_the_admin_of_django_is_seen(
    cluster: Cluster, tmp_path: Path, statements: str, entry: str, interval: str
) -> None:
    found = findings(**_in_django(tmp_path, statements))

    assert entry in found["beat-entry"]["found"]
    assert interval in found["beat-interval"]["found"]


def test_an_entry_that_lives_on_in_redbeat_is_seen(cluster: Cluster) -> None:
    from redbeat.schedulers import RedBeatSchedulerEntry, ensure_conf

    app = cluster.app
    app.conf.update(redbeat_redis_url=f"{cluster.redis_url}/4", redbeat_redis_options={}, redbeat_lock_key=None)
    ensure_conf(app)
    entry = RedBeatSchedulerEntry("trellis-check-timeouts", "trellis_celery.check_timeouts", 1.0, app=app)
    entry.save()
    assert findings(TRELLIS_TEST_REDBEAT="1")["beat-entry"]["level"] == "ok"

    entry.enabled = False
    entry.save()

    finding = findings(TRELLIS_TEST_REDBEAT="1")["beat-entry"]
    entry.delete()
    app.redbeat_redis.close()
    assert finding["level"] == "warning"
    assert "is disabled in redbeat" in finding["found"]


def test_settings_that_make_no_sense_are_the_only_thing_that_is_told(cluster: Cluster) -> None:
    examined = doctor(TRELLIS_TEST_SETTINGS="trellis_check_intervall_ms=1")

    assert examined.returncode == 1
    assert "did you mean trellis_check_interval_ms?" in examined.stdout
    assert f"{len(CHECKS) - 1} not checked" in examined.stdout


# Work that waits


class Forgotten(ProcessType):
    """A type that the examined app does not declare."""

    sign = Step(timeout_ms=1, external=True)


def _start(trellis: Any) -> Any:
    return trellis.start_process(Forgotten, tenant_id="a", aggregate_type="Paper", aggregate_id="1")


def test_what_is_late_then_given_up_then_closed_is_told(redis_url: str) -> None:
    with made(trellis_url=redis_url) as trellis:
        assert level(trellis, "check-due") is Level.OK
        process = _start(trellis)
        eventually(lambda: trellis.store.stats().due == 1, what="the step late")
        assert level(trellis, "check-due") is Level.PROBLEM

        trellis.timeouts.check_for_timed_out_steps(by="a test")
        assert level(trellis, "check-due") is Level.OK
        assert level(trellis, "check-age") is Level.OK
        (finding,) = said(trellis, "incidents")
        assert (finding.level, finding.found) == (Level.WARNING, "1 process with an open incident")

        trellis.processes.close_incident(process.id, "sign", by="a test")
        assert level(trellis, "incidents") is Level.OK


def test_processes_of_a_type_that_is_gone_are_told(redis_url: str) -> None:
    with made(trellis_url=redis_url) as trellis:
        _start(trellis)

        (finding,) = said(trellis, "types-declared")

    assert finding.level is Level.WARNING
    assert "Forgotten" in finding.found


def test_processes_that_wait_for_the_archive_are_told_when_they_are_many(redis_url: str, tmp_path: Path) -> None:
    history_url = f"sqlite:///{tmp_path}/history.db"
    engine = engine_for(history_url, timeout_ms=2_000)
    schema.migrate(engine)
    engine.dispose()
    settings = {"trellis_url": redis_url, "trellis_history_url": history_url, "trellis_retention_ms": 60_000}

    with made(**settings, trellis_history_backlog=1) as trellis:
        assert level(trellis, "history") is Level.OK
        _start(trellis).cancel()
        (finding,) = said(trellis, "history")
        trellis.history.archive_and_remove()
        afterwards = level(trellis, "history")
        close_archive(trellis)

    assert finding.level is Level.PROBLEM
    assert "1 process waiting for the archive" in finding.found
    assert afterwards is Level.OK


def close_archive(trellis: Any) -> None:
    trellis.history.archive.transactions.run(lambda connection: connection.engine).dispose()
    close(trellis)


def test_a_store_that_keeps_everything_for_ever_is_a_note(redis_url: str) -> None:
    with made(trellis_url=redis_url) as trellis:
        _start(trellis).cancel()

        (finding,) = said(trellis, "history")

    assert (finding.level, "1 so far" in finding.found) == (Level.NOTE, True)


def test_events_that_wait_for_the_relay_are_counted(redis_url: str) -> None:
    with made(trellis_url=redis_url, trellis_events_exchange="events") as trellis:
        _start(trellis)

        (finding,) = said(trellis, "outbox")

    assert finding.found == "1 process with events to be relayed"
