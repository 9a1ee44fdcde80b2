"""What `trellis doctor` says of Redis and Valkey: each fault is made on a real server."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support import redis_forms
from tests.support.examining import level, made, said, seen
from tests.support.programs import Program, free_port, is_listening
from tests.support.proxy import Proxy
from tests.support.services import missing, server_command
from tests.support.waiting import eventually
from trellis_celery.doctor import Level
from trellis_celery.doctor.asking import redis_rights
from trellis_celery.stores.redis.connect import connect
from trellis_celery.stores.redis.store import RedisStore

pytestmark = pytest.mark.integration

MB = 1 << 20


@pytest.fixture
def admin(each_redis_url: str) -> Iterator[redis.Redis]:
    """A user who may do everything. What it has set is put back at the end."""
    with redis.Redis.from_url(each_redis_url, decode_responses=True) as client:
        before = {name: client.config_get(name)[name] for name in _CHANGED}
        yield client
        for name, value in before.items():
            client.config_set(name, value)


EVICTED = pytest.mark.fault("B4")
_CHANGED = ("maxmemory", "maxmemory-policy", "appendonly", "appendfsync", "save", "min-replicas-to-write")


@pytest.mark.parametrize(
    ("settings", "check", "expected"),
    [
        pytest.param(
            {"maxmemory": 100 * MB, "maxmemory-policy": "noeviction"}, "redis-eviction", Level.OK, marks=EVICTED
        ),
        pytest.param(
            {"maxmemory": 100 * MB, "maxmemory-policy": "allkeys-lru"}, "redis-eviction", Level.PROBLEM, marks=EVICTED
        ),
        pytest.param(
            {"maxmemory": 0, "maxmemory-policy": "allkeys-lru"}, "redis-eviction", Level.WARNING, marks=EVICTED
        ),
        pytest.param({"maxmemory-policy": "volatile-ttl"}, "redis-eviction", Level.NOTE, marks=EVICTED),
        ({"maxmemory": 100 * MB}, "redis-memory", Level.OK),
        ({"appendonly": "no", "save": ""}, "redis-persistence", Level.PROBLEM),
        ({"appendonly": "no", "save": "3600 1"}, "redis-persistence", Level.WARNING),
        ({"appendonly": "yes", "appendfsync": "no"}, "redis-persistence", Level.WARNING),
        ({"appendonly": "yes", "appendfsync": "everysec"}, "redis-persistence", Level.OK),
        ({"appendonly": "yes", "appendfsync": "always"}, "redis-persistence", Level.OK),
        ({"min-replicas-to-write": 1}, "redis-replication", Level.PROBLEM),
        ({"min-replicas-to-write": 0}, "redis-replication", Level.OK),
    ],
)
def test_each_setting_of_the_server_is_judged(
    admin: redis.Redis, each_redis_url: str, settings: dict[str, Any], check: str, expected: Level
) -> None:
    for name, value in settings.items():
        admin.config_set(name, value)

    with made(trellis_url=each_redis_url) as trellis:
        assert level(trellis, check) is expected


def test_a_server_that_is_nearly_full_is_a_warning(admin: redis.Redis, each_redis_url: str) -> None:
    def is_told() -> bool:
        """The server may just be giving back what other tests had in it."""
        admin.config_set("maxmemory", int(admin.info("memory")["used_memory"] * 1.05))
        return level(trellis, "redis-memory") is Level.WARNING

    with made(trellis_url=each_redis_url) as trellis:
        eventually(is_told, what="the warning")


def test_the_release_is_told_by_its_name(each_redis_url: str, request: pytest.FixtureRequest) -> None:
    with made(trellis_url=each_redis_url) as trellis:
        (finding,) = said(trellis, "redis-version")

    assert finding.level is Level.OK
    assert finding.found.startswith("Valkey " if "valkey" in request.node.name else "Redis ")


def test_a_snapshot_that_fails_is_a_problem(tmp_path: Path) -> None:
    binary, port = shutil.which("redis-server"), free_port()
    if binary is None:
        missing("there is no redis-server on the path")
    gone = tmp_path / "gone"
    gone.mkdir()
    server = Program(server_command(Path(binary), gone, port), name="redis", directory=tmp_path)
    try:
        server.wait_until(lambda: is_listening(port))
        shutil.rmtree(gone)
        with redis.Redis(port=port) as client:
            client.bgsave()
            eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", what="a failed snapshot")
        with made(trellis_url=f"redis://127.0.0.1:{port}/0") as trellis:
            assert "the last snapshot failed" in [finding.found for finding in said(trellis, "redis-persistence")]
    finally:
        server.kill()


def test_a_replica_is_a_problem_and_its_master_is_not(tmp_path: Path) -> None:
    with redis_forms.replicated(tmp_path) as (master, replica):
        for port, expected in ((master, Level.OK), (replica, Level.PROBLEM)):
            with made(trellis_url=f"redis://127.0.0.1:{port}/0") as trellis:
                assert level(trellis, "redis-replication") is expected


@pytest.mark.fault("B7")
def test_behind_a_sentinel_writes_have_to_wait_for_a_replica(tmp_path: Path) -> None:
    with redis_forms.with_sentinel(tmp_path) as place:
        options = {"trellis_url": place.url, "trellis_transport_options": place.transport_options}
        with made(**options) as trellis:
            assert level(trellis, "redis-replication") is Level.WARNING

            trellis.store.client.config_set("min-replicas-to-write", 1)  # type: ignore[attr-defined]
            assert level(trellis, "redis-replication") is Level.OK

            trellis.store.client.config_set("min-replicas-to-write", 2)  # type: ignore[attr-defined]
            assert level(trellis, "redis-replication") is Level.PROBLEM


def test_every_node_of_a_cluster_is_looked_at(tmp_path: Path) -> None:
    with redis_forms.as_cluster(tmp_path) as place, made(trellis_url=place.url) as trellis:
        findings = said(trellis, "redis-replication")

        assert [finding.level for finding in findings] == [Level.WARNING] * 3
        assert len({finding.about for finding in findings}) == 3
        assert level(trellis, "redis-rights") is Level.OK
        assert level(trellis, "store-reachable") is Level.OK


# Rights

PERMITTED = [f"+{name.lower().replace(' ', '|')}" for name in redis_rights.COMMANDS]


@pytest.fixture
def limited(admin: redis.Redis, each_redis_url: str) -> Iterator[Any]:
    """Make a user with these rights and no others; return the URL that it has."""

    def make(*rights: str) -> str:
        admin.execute_command("ACL", "SETUSER", "shop", "reset", "on", ">secret", *rights)
        return each_redis_url.replace("redis://", "redis://shop:secret@")

    yield make
    admin.execute_command("ACL", "DELUSER", "shop")


def test_the_commands_that_are_told_are_all_that_a_user_needs(limited: Any) -> None:
    with made(trellis_url=limited("~trellis:*", *PERMITTED)) as trellis:
        report = seen(trellis)

        assert [one.level for one in report.findings if one.check in ("redis-rights", "redis-scripts")] == [
            Level.OK
        ] * 2
        assert "INFO" in report.unchecked["redis-eviction"]


@pytest.mark.fault("S7")
@pytest.mark.parametrize("may_queue", [True, False])
@pytest.mark.parametrize(
    ("rights", "found"),
    [
        (("~trellis:*", *PERMITTED, "-hincrby", "-zadd"), ["may not use HINCRBY, ZADD"]),
        (("~trellis:{0}:*", *PERMITTED), ["may not write trellis:last_check"]),
        (("~other:*", *PERMITTED), ["may not write trellis:last_check, trellis:{0}:deadlines, trellis:{0}:process:"]),
        (("~trellis:{0}:*", *PERMITTED, "-zrem"), ["may not use ZREM", "may not write trellis:last_check"]),
    ],
)
def test_rights_that_are_missing_are_told_exactly_whether_or_not_the_user_may_queue_commands(
    limited: Any, rights: tuple[str, ...], found: list[str], may_queue: bool
) -> None:
    url = limited(*rights, *(("+multi", "+discard") if may_queue else ()))

    with made(trellis_url=url) as trellis:
        findings = said(trellis, "redis-rights")

    assert [finding.level for finding in findings] == [Level.PROBLEM] * len(found)
    for finding, text in zip(findings, found, strict=True):
        assert text in finding.found


@pytest.mark.fault("S7")
def test_a_user_who_may_not_load_scripts_is_told_so(limited: Any) -> None:
    with made(trellis_url=limited("~*", *PERMITTED, "-script", "-evalsha", "+multi", "+discard")) as trellis:
        (rights,) = said(trellis, "redis-rights")
        (scripts,) = said(trellis, "redis-scripts")

    assert "may not use EVALSHA, SCRIPT LOAD" in rights.found
    assert scripts.level is Level.PROBLEM


def test_where_nothing_can_be_asked_the_commands_are_told(limited: Any) -> None:
    with made(trellis_url=limited("~*", *PERMITTED, "-evalsha")) as trellis:
        (rights,) = said(trellis, "redis-rights")

    assert rights.level is Level.NOTE
    assert "HINCRBY" in rights.advice


def test_the_rights_are_found_out_without_writing_anything(admin: redis.Redis, each_redis_url: str) -> None:
    admin.set("trellis:last_check", "of somebody")
    with connect(each_redis_url, timeout_ms=2_000) as client:
        redis_rights.ask(client, prefix="trellis")

    assert admin.keys("*") == ["trellis:last_check"]
    assert admin.get("trellis:last_check") == "of somebody"


# Reaching it


def test_a_store_that_is_down_is_told_and_everything_else_is_looked_at_all_the_same() -> None:
    with made(trellis_url=f"redis://:secret@127.0.0.1:{free_port()}/0") as trellis:
        report = seen(trellis)

    (finding,) = [one for one in report.findings if one.check == "store-reachable"]
    assert finding.level is Level.PROBLEM
    assert "secret" not in finding.found
    assert {"redis-eviction", "redis-rights", "check-age", "store-clock"} <= report.unchecked.keys()
    assert {"beat-entry", "steps-bound", "celery-eager"} <= {one.check for one in report.findings}


def test_a_wrong_password_is_told_as_what_it_is(admin: redis.Redis, each_redis_url: str) -> None:
    with made(trellis_url=each_redis_url.replace("redis://", "redis://nobody:wrong@")) as trellis:
        (finding,) = said(trellis, "store-reachable")

    assert finding.level is Level.PROBLEM
    assert "username-password" in finding.found


def test_a_store_that_swallows_everything_keeps_nobody_waiting(redis_url: str) -> None:
    port = int(redis_url.rpartition(":")[2].partition("/")[0])
    with (
        Proxy(port) as proxy,
        made(trellis_url=f"redis://127.0.0.1:{proxy.port}/0", trellis_store_timeout_ms=600) as trellis,
    ):
        proxy.is_blackhole = True
        started_s = time.monotonic()

        (finding,) = said(trellis, "store-reachable")

        assert finding.level is Level.PROBLEM
        assert time.monotonic() - started_s < 8


@pytest.mark.fault("S9")
def test_a_store_of_another_time_is_a_warning(redis_url: str) -> None:
    class FastStore(RedisStore):
        def now_ms(self) -> int:
            return super().now_ms() + 3_600_000

    with made(store=FastStore(connect(redis_url, timeout_ms=2_000))) as trellis:
        (finding,) = said(trellis, "store-clock")

    assert finding.level is Level.WARNING
    assert "1 h behind the store" in finding.found


def test_one_server_for_queues_and_processes_is_told_of_once_and_one_database_is_a_warning(
    each_redis_url: str,
) -> None:
    beside = each_redis_url[:-1] + "1"
    for store_url, expected in ((each_redis_url, Level.WARNING), (beside, Level.OK)):
        with made(broker=each_redis_url, trellis_url=store_url) as trellis:
            assert [finding.about for finding in said(trellis, "redis-eviction")] == ["store and broker"]
            assert level(trellis, "broker-database") is expected


def test_all_that_an_examination_leaves_behind_is_celerys_note_of_where_it_awaits_replies(
    admin: redis.Redis, each_redis_url: str
) -> None:
    beside = each_redis_url[:-1] + "1"
    with made(broker=each_redis_url, trellis_url=beside) as trellis:
        seen(trellis)

    assert [key for key in admin.keys("*") if not key.startswith("_kombu.binding")] == []
    with redis.Redis.from_url(beside) as store:
        assert store.keys("*") == []
