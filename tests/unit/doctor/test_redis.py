"""What is said of a Redis server."""

from __future__ import annotations

import pytest

from trellis_celery.doctor.finding import Level
from trellis_celery.doctor.redis import RedisFacts, eviction, memory, persistence, replication, version

MB = 1 << 20


@pytest.mark.parametrize(
    ("policy", "max_memory", "level"),
    [
        ("noeviction", 0, Level.OK),
        ("noeviction", MB, Level.OK),
        ("allkeys-lru", MB, Level.PROBLEM),
        ("allkeys-random", 0, Level.WARNING),
        ("volatile-lru", MB, Level.NOTE),
    ],
)
def test_a_server_that_may_throw_keys_away_is_a_problem_as_soon_as_it_has_a_limit(
    policy: str, max_memory: int, level: Level
) -> None:
    (finding,) = eviction(RedisFacts(policy=policy, max_memory=max_memory))

    assert finding.level is level
    assert policy in finding.found
    assert (level is Level.OK) == (not finding.advice)


@pytest.mark.parametrize(
    ("has_aof", "fsync", "snapshots", "level", "found"),
    [
        (True, "everysec", "", Level.OK, "about the last second"),
        (True, "always", "", Level.OK, "nothing acknowledged"),
        (True, "no", "", Level.WARNING, "appendfsync no"),
        (True, None, None, Level.NOTE, "does not tell"),
        (False, "everysec", "3600 1", Level.WARNING, "save 3600 1"),
        (False, None, None, Level.WARNING, "snapshots only"),
        (False, "everysec", "", Level.PROBLEM, "nothing is on disk"),
    ],
)
def test_persistence_says_what_a_crash_can_cost(
    has_aof: bool, fsync: str | None, snapshots: str | None, level: Level, found: str
) -> None:
    (finding,) = persistence(RedisFacts(has_aof=has_aof, fsync=fsync, snapshots=snapshots))

    assert finding.level is level
    assert found in finding.found


def test_a_snapshot_that_failed_is_a_problem_beside_whatever_else_there_is() -> None:
    first, second = persistence(RedisFacts(failed_writes=("the last snapshot failed",)))

    assert (first.level, first.found) == (Level.PROBLEM, "the last snapshot failed")
    assert second.level is Level.OK


@pytest.mark.parametrize(
    ("facts", "level", "found"),
    [
        (RedisFacts(), Level.OK, "one server"),
        (RedisFacts(replicas=2), Level.OK, "2 replicas, no failover"),
        (RedisFacts(replicas=2, has_failover=True), Level.WARNING, "min-replicas-to-write 0"),
        (
            RedisFacts(replicas=2, has_failover=True, min_replicas=1, good_replicas=2),
            Level.OK,
            "min-replicas-to-write 1",
        ),
        (RedisFacts(replicas=1, min_replicas=2, good_replicas=1), Level.PROBLEM, "1 of 2 replicas"),
        (RedisFacts(min_replicas=1, good_replicas=0), Level.PROBLEM, "0 of 1 replica "),
        (RedisFacts(has_failover=True), Level.WARNING, "no replica"),
        (RedisFacts(is_replica=True), Level.PROBLEM, "is a replica"),
    ],
)
def test_replicas_are_judged_by_whether_a_failover_can_lose_writes(facts: RedisFacts, level: Level, found: str) -> None:
    (finding,) = replication(facts)

    assert finding.level is level
    assert found in finding.found


@pytest.mark.parametrize(
    ("product", "number", "level"),
    [
        ("Redis", (6, 2), Level.OK),
        ("Redis", (8, 0, 1), Level.OK),
        ("Redis", (6, 0, 20), Level.PROBLEM),
        ("Valkey", (7, 2), Level.OK),
        ("Dragonfly", (1, 2), Level.NOTE),
    ],
)
def test_a_release_before_the_oldest_tested_one_is_a_problem(
    product: str, number: tuple[int, ...], level: Level
) -> None:
    (finding,) = version(RedisFacts(product=product, version=number))

    assert finding.level is level
    assert product in finding.found


@pytest.mark.parametrize(
    ("max_memory", "used", "level"),
    [
        (0, 500 * MB, Level.OK),
        (100 * MB, 89 * MB, Level.OK),
        (100 * MB, 90 * MB, Level.WARNING),
        (100 * MB, 100 * MB, Level.PROBLEM),
    ],
)
def test_a_server_that_is_nearly_full_is_a_warning_and_a_full_one_a_problem(
    max_memory: int, used: int, level: Level
) -> None:
    (finding,) = memory(RedisFacts(max_memory=max_memory, used_memory=used))

    assert finding.level is level
