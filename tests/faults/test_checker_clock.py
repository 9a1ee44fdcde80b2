"""The host that checks, or that beat runs on, has a wrong clock. The store's is right."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.cluster import Cluster
from tests.support.programs import Program
from tests.support.waiting import eventually, stays
from tests.support.wall_clock import WallClock
from trellis_celery import EventKind, ProcessHandle

pytestmark = [pytest.mark.integration, pytest.mark.fault("C10")]

HOUR_S = 3_600


@pytest.fixture(params=[HOUR_S, -HOUR_S], ids=["ahead", "behind"])
def wrong_clock(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment of a program whose clock is an hour off."""
    clock = WallClock(tmp_path)
    clock.set_off(request.param)
    return clock.env


def send(cluster: Cluster, process_type: str, queue: str) -> tuple[ProcessHandle, Any]:
    process = cluster.trellis.start_process(
        getattr(cluster.module, process_type), tenant_id="tests", aggregate_type="Check", aggregate_id=uuid4().hex
    )
    with process:
        sent = cluster.module.hang.apply_async((60,), queue=queue)
    return process, sent


def is_off(program: Program) -> bool:
    """Whether its log is an hour off."""
    (written, *_) = re.findall(r"^\[([\d :-]+),\d+: ", program.output, re.MULTILINE)
    return abs(datetime.fromisoformat(written).timestamp() - time.time()) > HOUR_S / 2


def test_c10_who_checks_by_a_wrong_clock_finds_what_is_late_and_nothing_else(
    start_cluster: Callable[..., Cluster], wrong_clock: dict[str, str]
) -> None:
    cluster = start_cluster("tests.support.apps.checking")
    cluster.worker("-Q", "hung", name="hung", pool="threads")
    late, _ = send(cluster, "Hasty", "hung")
    in_time, sent = send(cluster, "Patient", "hung")
    cluster.diary.wait_for(f"ran {sent.id}")
    deadline_ms = in_time.refresh().steps["work"].deadline_ms

    wrong = cluster.worker(
        "-B", "-Q", "checking", "-s", str(cluster._directory / "schedule"), name="wrong", env=wrong_clock
    )

    eventually(lambda: late.refresh().steps["work"].attempt == 2, what="the late step is sent again")
    retried = next(event for event in late.history() if event.kind is EventKind.STEP_TIMED_OUT)
    started = next(event for event in late.history() if event.kind is EventKind.STEP_STARTED)
    assert 1_000 <= retried.occurred_at_ms - started.occurred_at_ms < 10_000
    assert stays(lambda: in_time.refresh().steps["work"].attempt == 1, for_s=1.5)
    assert in_time.steps["work"].deadline_ms == deadline_ms
    assert is_off(wrong)
    last = cluster.trellis.store.last_check()
    assert abs(cluster.trellis.store.now_ms() - last.at_ms) < 10_000
    cluster.close()


def test_c10_where_beat_has_a_wrong_clock_steps_are_still_looked_for(
    start_cluster: Callable[..., Cluster], wrong_clock: dict[str, str]
) -> None:
    """Behind, it sends checks that have expired an hour ago: then workers check on their own."""
    cluster = start_cluster("tests.support.apps.checking")
    cluster.worker("-Q", "checking,hung", name="right", pool="threads")
    beat = cluster.beat(env=wrong_clock)
    late, _ = send(cluster, "Hasty", "hung")

    eventually(lambda: late.refresh().steps["work"].attempt == 2, what="the late step is sent again")

    assert "Sending due task trellis-check-timeouts" in beat.output
    assert is_off(beat)
    cluster.close()
