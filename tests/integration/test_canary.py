"""A secret among a task's arguments is in its message, for as long as that may be sent again, and nowhere else.

Looked at are the store after all has ended, the archive, logs, pages, JSON, metrics, the shell, Celery events, and what
other services hear.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from kombu import Queue

from tests.flower.server import flower
from tests.support.cluster import ROOT, STORE_DB, Cluster
from tests.support.listener import Listener
from tests.support.waiting import eventually
from trellis_celery import ProcessHandle, ProcessState
from trellis_celery.plugin.exchange import topic

pytestmark = pytest.mark.integration

APP = "tests.support.apps.canary"
SECRET = "4111-1111-1111-1111"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
def cluster(start_cluster: Callable[..., Cluster], archive: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("CANARY_HISTORY", f"sqlite:///{archive}")
    made = start_cluster(APP)
    assert shell("migrate").returncode == 0
    yield made
    made.close()


def shell(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "celery", "--quiet", "-A", APP, "trellis", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False
    )


def start(cluster: Cluster, process_type: str, *tasks: str) -> ProcessHandle:
    handle: ProcessHandle = cluster.trellis.start_process(
        getattr(cluster.module, process_type), tenant_id="shop", aggregate_type="Order", aggregate_id=uuid4().hex
    )
    with handle:
        for task in tasks:
            getattr(cluster.module, task).delay(SECRET)
    return handle


def contents(redis_url: str) -> str:
    """Everything in a database, whatever its type."""
    read = {
        b"hash": lambda client, key: client.hgetall(key),
        b"list": lambda client, key: client.lrange(key, 0, -1),
        b"set": lambda client, key: client.smembers(key),
        b"zset": lambda client, key: client.zrange(key, 0, -1),
        b"string": lambda client, key: client.get(key),
        b"none": lambda *_: None,  # it has gone since its name was read
    }
    with redis.Redis.from_url(redis_url) as client:
        return repr([(key, read[client.type(key)](client, key)) for key in client.scan_iter()])


def heard_of(cluster: Cluster, queue: Any) -> list[str]:
    heard = []
    cluster.trellis.relay.relay()
    while (message := queue.get(no_ack=True)) is not None:
        heard.append(json.dumps(message.payload))
    return heard


@pytest.mark.fault("X5")
def test_a_secret_argument_is_seen_nowhere(cluster: Cluster, archive: Path, tmp_path: Path) -> None:
    store_url = f"{cluster.redis_url}/{STORE_DB}"
    with cluster.app.connection_for_read() as connection, Listener(cluster.app) as listener:
        queue = Queue("canary-subscriber", topic(cluster.module.EXCHANGE), routing_key="#")(connection.default_channel)
        queue.declare()
        worker = cluster.worker("-l", "INFO", "-B", "-s", str(tmp_path / "schedule"))
        paid, doomed = start(cluster, "Payment", "charge"), start(cluster, "Doomed", "hang")
        paid.complete_step("thank", by="ann")
        failed = start(cluster, "Payment", "charge", "thank")
        eventually(lambda: paid.refresh().state is ProcessState.COMPLETED, within_s=30, what="paid")
        eventually(lambda: failed.refresh().state is ProcessState.FAILED, within_s=30, what="failed")
        eventually(lambda: doomed.refresh().process.has_incident, within_s=30, what="given up")
        assert SECRET in contents(store_url), "a failed step keeps its message, so the canary can sing"

        seen = {
            "worker's log": worker.output,
            "exchange": repr(heard_of(cluster, queue)),
            "Celery events": repr(listener.heard),
            "history": repr([each.history() for each in (paid, failed, doomed)]),
        }
        for arguments in (
            ("list",),
            ("incidents",),
            ("stats",),
            *(("show", each.id, *more) for each in (paid, failed, doomed) for more in ((), ("--json",))),
        ):
            ended = shell(*arguments)
            assert ended.returncode == 0, ended.stderr
            seen[" ".join(arguments)] = ended.stdout + ended.stderr
        eventually(lambda: shell("list", "--archived").stdout.count("Payment") == 2, within_s=30, what="archived")
        seen["archive"] = repr(archive.read_bytes())
        seen |= pages(tmp_path, [paid, failed, doomed])

        for process, step_name in ((failed, "thank"), (doomed, "charge")):
            process.retry_step(step_name)
            process.cancel()
        seen["store after all has ended"] = contents(store_url)
        seen["Celery events at the end"] = repr(listener.heard)

    found = [where for where, text in seen.items() if SECRET in text]
    assert found == []
    assert all(seen.values()), "something was not looked at"


def pages(directory: Path, processes: list[ProcessHandle]) -> dict[str, str]:
    env = {"FLOWER_UNAUTHENTICATED_API": "1"}
    with flower(APP, directory=directory, env={**os.environ, **env}) as server:
        visitor = server.visitor()
        paths = ["/trellis", "/trellis/incidents", "/metrics", "/api/trellis/processes", "/api/trellis/incidents"]
        for process in processes:
            paths += [f"/trellis/process/{process.id}", f"/api/trellis/processes/{process.id}"]
        answers = {path: visitor.get(path) for path in paths}
    assert {path: answer.status for path, answer in answers.items() if answer.status != 200} == {}
    return {path: answer.text for path, answer in answers.items()}


def test_arguments_are_shown_where_the_setting_says_so(cluster: Cluster) -> None:
    process = start(cluster, "Payment", "charge")

    assert SECRET not in shell("show", process.id).stdout
    assert SECRET in shell("show", process.id, CANARY_SHOW_ARGS="1").stdout
