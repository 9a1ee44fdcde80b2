"""The beat that holds redbeat's lock dies. The lock outlives it, and no other beat sends anything meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.support.cluster import Cluster
from tests.support.waiting import eventually
from trellis_celery.ports import LastCheck

pytestmark = [pytest.mark.integration, pytest.mark.fault("C9")]

REDBEAT = ("-S", "redbeat.RedBeatScheduler")
LOCKED = {"TRELLIS_TEST_REDBEAT_LOCK": "redbeat::lock"}


def test_c9_steps_are_looked_for_while_redbeats_lock_is_a_dead_beats(start_cluster: Callable[..., Cluster]) -> None:
    cluster = start_cluster("tests.support.apps.checking", env=LOCKED)
    cluster.worker()
    first = cluster.beat(*REDBEAT, name="first")
    checks = Checks(cluster)
    eventually(lambda: checks.look().by.startswith("beat"), what="a check by the first beat")
    second = cluster.beat(*REDBEAT, name="second")
    assert "Acquired lock" not in second.output

    first.kill()

    eventually(lambda: checks.look().by.startswith("worker"), what="a worker checks in its place")
    eventually(lambda: checks.look().by.startswith("beat") and "Acquired lock" in second.output, what="the second beat")
    assert checks.longest_gap_s < 5
    cluster.close()


class Checks:
    """Looks at the last check, and how long each was the last."""

    def __init__(self, cluster: Cluster) -> None:
        self._store = cluster.trellis.store
        self._at_ms, self._since_s = 0, time.monotonic()
        self.longest_gap_s = 0.0

    def look(self) -> LastCheck:
        last: LastCheck = self._store.last_check()
        now_s = time.monotonic()
        if last.at_ms != self._at_ms:
            self._at_ms, self._since_s = last.at_ms, now_s
        self.longest_gap_s = max(self.longest_gap_s, now_s - self._since_s)
        return last
