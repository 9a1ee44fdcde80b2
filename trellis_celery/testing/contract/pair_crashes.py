"""What a pair of repositories promises after a crash: whatever was left undone is done by the next check.

Each operation is interrupted at each of its writes. After a check, all of the operation is seen or nothing of it; and
once its caller, who looks before repeating it, has done so, everything is as if nothing had happened.
"""

from __future__ import annotations

from typing import Any

import pytest

from trellis_celery.domain.process import Process
from trellis_celery.repositories import ProcessRepository, StepTrackerRepository
from trellis_celery.testing.contract import pair_scenes as scenes
from trellis_celery.testing.contract.pair_scenes import Act, Interruption, Pair, Prepare, Wire


class PairCrashPromises:
    @pytest.mark.parametrize("interruption", scenes.INTERRUPTIONS, ids=lambda each: each.__name__)
    @pytest.mark.parametrize("name", scenes.SCENES)
    def test_what_a_crash_leaves_undone_is_done_by_the_next_check(
        self, processes: ProcessRepository, trackers: StepTrackerRepository, name: str, interruption: Interruption
    ) -> None:
        pair, (prepare, act) = Pair(processes, trackers), scenes.SCENES[name]
        undone, done, writes = _uninterrupted(pair, prepare, act)

        for write in range(1, writes + 1):
            process, wire = prepare(pair), Wire()
            with scenes.interrupted(pair, write, interruption, wire) as store:
                act(store, process)
            assert wire.writes >= write

            _assert_recovers(pair, process, act, (*undone, done))

    @pytest.mark.parametrize("name", scenes.SCENES)
    def test_a_writer_so_slow_that_others_did_its_work_may_crash_too(
        self, processes: ProcessRepository, trackers: StepTrackerRepository, name: str
    ) -> None:
        pair, (prepare, act) = Pair(processes, trackers), scenes.SCENES[name]
        undone, done, writes = _uninterrupted(pair, prepare, act)
        calls = scenes.counted(pair, prepare, act).calls
        pair.check()

        for call in range(1, calls + 1):
            for write in range(1, writes + 1):
                process, wire = prepare(pair), Wire()
                wire.before_call[call] = pair.check
                with scenes.interrupted(pair, write, scenes.after, wire) as store:
                    act(store, process)

                _assert_recovers(pair, process, act, (*undone, done))


Picture = dict[str, Any]


def _uninterrupted(pair: Pair, prepare: Prepare, act: Act) -> tuple[list[Picture], Picture, int]:
    """What is seen where nothing was done and where all was, and the number of writes in between."""
    process = prepare(pair)
    pair.check()
    undone = [pair.picture(process)]
    if undone[0]["finished"] == ["archived"]:  # to archive a process once more does no harm
        undone.append({**undone[0], "finished": ["waiting"]})
    writes = scenes.counted(pair, prepare, act).writes
    process = prepare(pair)
    act(pair.store(), process)
    done = pair.picture(process)
    assert done["left over"] == []
    return undone, done, writes


def _assert_recovers(pair: Pair, process: Process, act: Act, allowed: tuple[Picture, ...]) -> None:
    pair.check()
    assert pair.picture(process) in allowed

    act(pair.store(), process)
    assert pair.picture(process) == allowed[-1]
    pair.clear(process)
