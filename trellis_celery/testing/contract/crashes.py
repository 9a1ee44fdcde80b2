"""What a store promises about programs that die as they write: what they left behind agrees with itself."""

from __future__ import annotations

import time
from contextlib import closing
from random import Random

from trellis_celery.domain.process import Process
from trellis_celery.ports import ProcessStore
from trellis_celery.testing.contract.audit import assert_consistent, stored_process
from trellis_celery.testing.contract.races import SharedStore
from trellis_celery.testing.contract.rival import Opener, Victims
from trellis_celery.testing.contract.writer import write_until_killed


class CrashPromises(SharedStore):
    #: How many programs are killed, one after the other. Each goes on where the one before it was killed.
    crashes = 20
    #: What they do, and about when they die, follows from this.
    crash_seed = 1

    def test_a_program_that_is_killed_as_it_writes_leaves_nothing_half_written(
        self, store: ProcessStore, open_again: Opener
    ) -> None:
        random = Random(self.crash_seed)  # noqa: S311 — the same each time
        told: dict[str, Process] = {}

        with closing(Victims()) as victims:
            for _ in range(self.crashes):
                inherited = [process_id for process_id in told if stored_process(store, process_id)]
                victims.start(write_until_killed, open_again, random.getrandbits(32), inherited)
                for process in _killed_at_random(victims, random):
                    told[process.id] = process

                assert_consistent(store, told)
                holders = {store.find(process.key) for process in told.values()}
                assert all(stored_process(store, holder) for holder in holders if holder), "what is gone holds a key"


def _killed_at_random(victims: Victims, random: Random) -> list[Process]:
    """Kill the program after some of its writes, wherever it is in the next two. Returns what it may have started."""
    writes = random.randint(3, 40)
    told = [victims.next_told()]
    began_s = time.monotonic()
    told += [victims.next_told() for _ in range(writes)]
    per_write_s = (time.monotonic() - began_s) / writes
    dies_s = time.monotonic() + 2 * random.random() * per_write_s
    while (left_s := dies_s - time.monotonic()) > 0 and victims.told_within(left_s):
        told.append(victims.next_told())
    told += victims.kill()
    return [process for process in told if process is not None]
