"""A part of the network is cut off, with the master of the store and some of its clients."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.cluster import ROOT
from tests.support.failover import watched_pair
from tests.support.island import Island
from tests.support.programs import Program
from tests.support.redis_server import RedisServer, store_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

#: What `trellis doctor` asks for where there is a Sentinel, with the shortest lag.
GUARDED = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "1", "--protected-mode", "no")
#: The lag, the second in which the server looks at it, and what a busy machine takes.
REFUSES_WITHIN_S = 1 + 1 + 1.5


@pytest.fixture
def island() -> Iterator[Island]:
    with Island() as island:
        yield island


class Reply(NamedTuple):
    at_s: float
    #: Empty: the write was refused.
    process_id: str


def replies(writer: Program) -> list[Reply]:
    lines = [line.split(" ") for line in writer.output.splitlines(keepends=True) if line.endswith("\n")]
    return [Reply(float(at_s), process_id.strip()) for at_s, process_id in lines]


@pytest.mark.fault("B7")
def test_b7_a_master_that_is_cut_off_soon_refuses_writes_and_loses_none_after_that(
    island: Island, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = RedisServer(tmp_path, *GUARDED, host=island.address, prefix=island.prefix, name="master")
    with old, watched_pair(tmp_path, *GUARDED, master=old, host=island.main_address) as pair:
        command = [*island.prefix, sys.executable, "-m", "tests.support.cut_off", pair.url]
        writer = Program(command, name="writer", directory=tmp_path, env={"PYTHONPATH": str(ROOT)})
        try:
            writer.wait_until(lambda: len(replies(writer)) > 100)
            island.cut()
            cut_s = time.monotonic()
            pair.wait_for_promotion()
            eventually(lambda: replies(writer)[-1].at_s > cut_s + REFUSES_WITHIN_S, what="it had the time to refuse")
        finally:
            writer.kill()
        with store_of(pair.replica.url()) as store:
            there = {each.id for each in store.list_processes(limit=1_000_000)}

    told = replies(writer)
    lost = [reply for reply in told if reply.process_id and reply.process_id not in there]
    with capsys.disabled():
        print(f"\n{len(told)} writes; lost: {len(lost)}, the last {lost[-1].at_s - cut_s:.1f} s after the cut")
    assert lost, "the cut came when nobody wrote"
    assert all(cut_s - 0.5 < reply.at_s < cut_s + REFUSES_WITHIN_S for reply in lost)
    assert not told[-1].process_id, "the last write was not refused"
