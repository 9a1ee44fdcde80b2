"""Who breaks things: a plan that a seed decides, and the hands that carry it out."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from tests.chaos.stage import Stage


class Blow(NamedTuple):
    """One fault. `at_s`: seconds after the start. `target`: a number in [0, 1) that chooses what is hit. `for_s`: how
    long it is kept up, where that means something."""

    at_s: float
    fault: str
    target: float
    for_s: float


class Cut(NamedTuple):
    """Runs of these programs were cut off, or stopped, at this time: epoch seconds."""

    pids: frozenset[int]
    at_s: float


#: How often each fault is chosen.
WEIGHTS = {
    "kill a child": 8,
    "kill a worker": 5,
    "freeze a worker": 3,
    "freeze a child": 2,
    "kill a beat": 2,
    "kill the store": 2,
    "freeze the store": 2,
    "cut the store's connections": 2,
    "kill the broker": 2,
    "freeze the broker": 1,
    "cut the broker's connections": 2,
    "empty the queue": 2,
    "copy a message": 4,
}
#: Longer than a worker's lease and the broker's and the store's patience; shorter than the soak's.
SHORTEST_S, LONGEST_S = 0.5, 4.0


def plan(seed: int, *, seconds: float) -> list[Blow]:
    """The same for the same seed, as far as it goes."""
    blows: list[Blow] = []
    dice, at_s = random.Random(seed), 0.0
    faults, weights = list(WEIGHTS), list(WEIGHTS.values())
    while True:
        at_s += dice.uniform(0.5, 3.5)
        (fault,) = dice.choices(faults, weights)
        blow = Blow(round(at_s, 2), fault, dice.random(), round(dice.uniform(SHORTEST_S, LONGEST_S), 2))
        if blow.at_s + blow.for_s > seconds:
            return blows
        blows.append(blow)


class Nemesis:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._hands: dict[str, Callable[[Blow], bool]] = {
            "kill a child": self._kill_child,
            "kill a worker": self._kill_worker,
            "freeze a worker": self._freeze_worker,
            "freeze a child": self._freeze_child,
            "kill a beat": self._kill_beat,
            "kill the store": lambda blow: self._kill(self._stage.store.kill, self._stage.store.start, blow),
            "freeze the store": lambda blow: self._kill(self._stage.store.freeze, self._stage.store.thaw, blow),
            "cut the store's connections": lambda _: self._cut(self._stage.store.cut_connections),
            "kill the broker": lambda blow: self._kill(self._stage.broker.kill, self._stage.broker.start, blow),
            "freeze the broker": lambda blow: self._kill(self._stage.broker.freeze, self._stage.broker.thaw, blow),
            "cut the broker's connections": lambda _: self._cut(self._stage.broker.cut_connections),
            "empty the queue": lambda _: self._stage.empty_queue(),
            "copy a message": lambda blow: self._stage.copy_message(blow.target),
        }
        assert set(self._hands) == set(WEIGHTS)
        self.cuts: list[Cut] = []
        self.done: list[str] = []
        self.missed: list[str] = []

    def strike(self, blow: Blow) -> None:
        """Carry it out, and heal it. What hit nobody, because there was nobody, is told as missed."""
        (self.done if self._hands[blow.fault](blow) else self.missed).append(blow.fault)

    def _kill_child(self, blow: Blow) -> bool:
        return self._on_child(blow, lambda pid: os.kill(pid, signal.SIGKILL))

    def _freeze_child(self, blow: Blow) -> bool:
        def freeze(pid: int) -> None:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(blow.for_s)
            os.kill(pid, signal.SIGCONT)

        return self._on_child(blow, freeze)

    def _on_child(self, blow: Blow, act: Callable[[int], None]) -> bool:
        children = sorted(pid for worker in self._stage.workers for pid in worker.child_pids())
        if not children:
            return False
        pid = children[int(blow.target * len(children))]
        self.cuts.append(Cut(frozenset({pid}), time.time()))
        with suppress(ProcessLookupError):
            act(pid)
        return True

    def _kill_worker(self, blow: Blow) -> bool:
        index = int(blow.target * len(self._stage.workers))
        self._note(index)
        self._stage.workers[index].kill()
        time.sleep(blow.for_s)
        self._stage.start_worker(index)
        return True

    def _freeze_worker(self, blow: Blow) -> bool:
        index = int(blow.target * len(self._stage.workers))
        self._note(index)
        worker = self._stage.workers[index]
        worker.signal_all(signal.SIGSTOP)
        time.sleep(blow.for_s)
        worker.signal_all(signal.SIGCONT)
        return True

    def _note(self, index: int) -> None:
        self.cuts.append(Cut(frozenset(self._stage.workers[index].child_pids()), time.time()))

    def _kill_beat(self, blow: Blow) -> bool:
        index = int(blow.target * len(self._stage.beats))
        self._stage.beats[index].kill()
        time.sleep(blow.for_s)
        self._stage.start_beat(index)
        return True

    def _kill(self, strike: Callable[[], None], heal: Callable[[], None], blow: Blow) -> bool:
        strike()
        time.sleep(blow.for_s)
        heal()
        return True

    def _cut(self, cut: Callable[[], None]) -> bool:
        cut()
        return True


def due(blows: list[Blow], *, since_s: float) -> Iterator[Blow]:
    """Each blow at its time, or at once if the one before took longer. `since_s`: by `time.monotonic`."""
    for blow in blows:
        time.sleep(max(0.0, since_s + blow.at_s - time.monotonic()))
        yield blow
