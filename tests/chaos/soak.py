"""One soak from beginning to end: break things, let them heal, wait for what was accepted, and judge."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import nemesis
from tests.chaos.judge import Verdict, judge
from tests.chaos.stage import Stage, stage

#: When things have stopped breaking, and so long nothing more is finished, it never will be.
PATIENCE_S = 90.0
PROGRESS_EVERY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    seed: int
    broker: str
    seconds: float
    #: How often each fault was made, and how often it hit nobody.
    faults: dict[str, int]
    missed: int
    processes: int
    #: Calls of the client that ended with an error, which it repeated.
    refused: int
    #: Seconds from the last fault until everything was finished.
    healed_s: float
    verdict: Verdict


class Soak:
    def __init__(self, *, seconds: float, seed: int, broker: str, every_s: float = 0.8) -> None:
        self._seconds = seconds
        self._seed = seed
        self._broker = broker
        self._every_s = every_s
        self.blows = nemesis.plan(seed, seconds=seconds)

    def run(self, directory: Path, *, tell: Callable[[str], None]) -> Report:
        """`directory`: empty; all that is started lives there. `tell` gets a line of progress now and then."""
        with stage(directory, broker=self._broker, every_s=self._every_s) as on:
            hands = nemesis.Nemesis(on)
            on.client.start()
            started_s = time.monotonic()
            told_s = started_s
            for blow in self.blows:
                hands.wait_until(started_s + blow.at_s)
                hands.strike(blow)
                on.client.require_whole()
                if time.monotonic() - told_s > PROGRESS_EVERY_S:
                    told_s = time.monotonic()
                    accepted = len(on.client.accepted.processes)
                    tell(f"{told_s - started_s:4.0f} s  {len(hands.done)} faults, {accepted} processes accepted")
            hands.heal()
            on.client.stop()
            healing_s = time.monotonic()
            left = self._wait(on, tell)
            healed_s = time.monotonic() - healing_s
            if left:
                tell("\n".join(f"--- {name}\n{text}" for name, text in on.output()))
            return Report(
                seed=self._seed,
                broker=self._broker,
                seconds=self._seconds,
                faults=dict(Counter(hands.done)),
                missed=len(hands.missed),
                processes=len(on.client.accepted.processes),
                refused=on.client.accepted.refused,
                healed_s=round(healed_s, 1),
                verdict=_judge(on, hands),
            )

    def _wait(self, on: Stage, tell: Callable[[str], None]) -> list[str]:
        """Wait until everything is finished; what is not when nothing more is finished for a while."""
        left = list(on.client.accepted.processes.values())
        end = time.monotonic() + PATIENCE_S
        while True:
            still = [each for each in left if not on.module.trellis.get_process(each).state.is_terminal]
            if len(still) < len(left):
                end = time.monotonic() + PATIENCE_S
            left = still
            if not left or time.monotonic() > end:
                return left
            tell(f"        nothing breaks any more: {len(left)} processes to go")
            time.sleep(PROGRESS_EVERY_S if len(left) > 20 else 1)


def _judge(on: Stage, hands: nemesis.Nemesis) -> Verdict:
    trellis = on.module.trellis
    processes = [
        (order_id, trellis.store.load(process_id), trellis.processes.history(process_id))
        for order_id, process_id in on.client.accepted.processes.items()
    ]
    return judge(processes, runs=on.ledger.runs(), cuts=hands.cuts)
