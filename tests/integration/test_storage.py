"""Lost steps come back wherever processes are kept, and finished processes go into the archive."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from sqlalchemy import select

from tests.support.cluster import ROOT, STORE_DB, Cluster
from tests.support.databases import without_tables
from tests.support.waiting import eventually
from trellis_celery import EventKind, ProcessHandle
from trellis_celery.stores.sqlalchemy import schema
from trellis_celery.stores.sqlalchemy.archive_models import ArchivedEventRow, ArchivedProcessRow
from trellis_celery.stores.sqlalchemy.connect import engine_for

APP = "tests.support.apps.storage"
STORES = ["sqlite", "postgresql", "mariadb", "dynamodb", "postgresql and redis"]

pytestmark = pytest.mark.integration


def celery(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "celery", "-A", APP, "trellis", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The variables that name an empty place for processes."""
    name = getattr(request, "param", "redis")
    if name == "redis":
        return {}
    if name == "sqlite":
        return {"TRELLIS_TEST_STORE": f"sqlite:///{tmp_path}/store.db"}
    if name == "dynamodb":
        endpoint = request.getfixturevalue("dynamodb_endpoint")
        return {"TRELLIS_TEST_STORE": f"dynamodb://eu-central-1/storage-{uuid4().hex}?endpoint={endpoint}"}
    database, _, trackers = name.partition(" and ")
    url = request.getfixturevalue(f"{database}_url")
    _empty(url)
    variables = {"TRELLIS_TEST_STORE": url}
    if trackers:
        variables["TRELLIS_TEST_TRACKERS"] = f"{request.getfixturevalue('valkey_server')}/7"
    return variables


def _empty(url: str) -> None:
    engine = engine_for(url, timeout_ms=20_000)
    without_tables(engine)
    engine.dispose()


@pytest.fixture
def cluster(
    start_cluster: Callable[..., Cluster], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    made = start_cluster(APP, env=environment)
    yield made
    made.close()


def start(cluster: Cluster, *, seconds: float = 0) -> ProcessHandle:
    process: ProcessHandle = cluster.trellis.start_process(
        cluster.module.Order, tenant_id="shop", aggregate_type="Order", aggregate_id=uuid4().hex
    )
    with process:
        cluster.module.pack.delay(seconds)
        cluster.module.ship.delay("a secret")
    return process


def _states(process: ProcessHandle) -> list[str]:
    return [step.state for step in process.refresh().steps.values()]


@pytest.mark.parametrize("environment", STORES, indirect=True)
def test_the_step_of_a_killed_worker_comes_back(cluster: Cluster) -> None:
    assert celery("migrate").returncode == 0
    first = cluster.worker(name="first")
    process = start(cluster, seconds=60)
    eventually(lambda: _states(process) == ["in_progress", "completed"], within_s=20, what="one step left")
    cluster.diary.wait_for(f"packed {process.steps['pack'].task_id}")  # its start may be seen before its body begins

    first.kill()
    cluster.worker(name="second")
    cluster.beat()

    eventually(lambda: process.refresh().state == "completed", within_s=30, what="the process completed")
    assert process.steps["pack"].attempt == 2
    kinds = [event.kind for event in process.history()]
    assert kinds.count(EventKind.STEP_REENQUEUED) == 1
    assert kinds.count(EventKind.STEP_COMPLETED) == 2
    (listed,) = [json.loads(line) for line in celery("list", "--tenant", "shop", "--json").stdout.splitlines()]
    assert (listed["id"], listed["state"]) == (process.id, "completed")


@pytest.mark.parametrize("environment", ["sqlite", "postgresql", "mariadb", "dynamodb"], indirect=True)
def test_before_its_migration_a_store_says_what_to_run(cluster: Cluster) -> None:
    listed = celery("list")
    assert listed.returncode == 1
    assert "trellis migrate" in listed.stderr
    assert "Traceback" not in listed.stderr

    as_text = celery("migrate", "--sql")
    assert as_text.returncode == 0
    assert "CREATE TABLE trellis_steps" in as_text.stdout or json.loads(as_text.stdout)["TableName"]
    assert celery("list").returncode == 1  # nothing was made

    for _ in range(2):
        assert celery("migrate").returncode == 0
    assert celery("list").stdout.strip() == "No processes."


@pytest.fixture
def history(postgresql_url: str) -> Iterator[Any]:
    _empty(postgresql_url)
    engine = engine_for(postgresql_url, timeout_ms=20_000)
    schema.migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def with_history(history: Any, postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRELLIS_TEST_HISTORY", postgresql_url)
    monkeypatch.setenv("TRELLIS_TEST_RETENTION_MS", "2000")


@pytest.mark.fault("A20")
@pytest.mark.usefixtures("with_history")
def test_finished_processes_go_into_the_archive_and_then_out_of_redis(cluster: Cluster, history: Any) -> None:
    cluster.worker()
    cluster.beat()
    processes = [start(cluster) for _ in range(20)]
    live = cluster.trellis.start_process(
        cluster.module.Order, tenant_id="shop", aggregate_type="Order", aggregate_id="live"
    )
    ids = {process.id for process in processes}

    with redis.Redis.from_url(f"{cluster.redis_url}/{STORE_DB}") as store:
        eventually(lambda: not _ids_in(store) & ids, within_s=40, what="the finished processes removed")
        assert _ids_in(store) == {live.id}
        live.cancel()
        eventually(lambda: not _ids_in(store), within_s=20, what="the last one removed")
        left = _content(store)
        about_types = {b"types", b"totals", b"last_check"}  # what there ever was, and nothing of any process
        assert {key.rpartition(b":")[2] for key in left} == about_types
        assert not [key for key, value in left.items() if b"shop" in key + value or b"a secret" in key + value]

    with history.connect() as connection:
        archived = connection.execute(select(ArchivedProcessRow.id, ArchivedProcessRow.state)).all()
        log = connection.scalars(select(ArchivedEventRow.kind)).all()
    assert {row.id for row in archived if row.state == "completed"} == ids
    assert len(archived) == len(ids) + 1
    assert log.count("step_completed") == 2 * len(ids)
    shown = celery("show", processes[0].id)
    assert "(from the archive)" in shown.stdout
    assert "a secret" not in shown.stdout
    assert len(celery("list", "--archived", "--json", "--state", "completed").stdout.splitlines()) == len(ids)


@pytest.fixture
def without_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRELLIS_TEST_HISTORY", "postgresql://nobody@127.0.0.1:1/none")


@pytest.mark.fault("A19")
@pytest.mark.usefixtures("without_archive")
def test_while_the_archive_is_down_work_goes_on_and_what_waits_is_seen(cluster: Cluster) -> None:
    cluster.worker()
    cluster.beat()
    processes = [start(cluster) for _ in range(5)]

    for process in processes:
        eventually(lambda process=process: process.refresh().state == "completed", within_s=20, what="it completed")  # type: ignore[misc]

    archived = celery("archive", "--json")
    assert archived.returncode == 1
    assert "could not be archived or removed" in archived.stderr
    report = json.loads(archived.stdout)
    assert (report["archived"], report["waiting"], report["removed"]) == (0, 5, 0)


def _ids_in(store: redis.Redis) -> set[str]:
    """Every process id that is in a key, a member or a field of the store."""
    found: set[bytes] = set()
    for key, value in _content(store).items():
        found.update(_PROCESS_ID.findall(key + value))
        if key.endswith(b":index"):  # entries have the id in binary form
            shard = key.rpartition(b"{")[2][:1]
            found.update(shard + b"-" + entry[-16:].hex().encode() for entry in store.zrange(key, 0, -1))
    return {one.decode() for one in found}


def _content(store: redis.Redis) -> dict[bytes, bytes]:
    """Everything there is: by key, as it would be printed."""
    readers: dict[bytes, Callable[[bytes], Any]] = {
        b"hash": store.hgetall,
        b"zset": lambda key: store.zrange(key, 0, -1),
        b"list": lambda key: store.lrange(key, 0, -1),
        b"set": store.smembers,
        b"string": store.get,
        b"none": lambda _: b"",
    }
    return {key: repr(readers[store.type(key)](key)).encode() for key in store.scan_iter("*")}


_PROCESS_ID = re.compile(rb"[0-9a-f]-[0-9a-f]{32}")
