"""Who breaks things: a plan that a seed decides, and the hands that carry it out."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple

from tests.chaos.servers import Server
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
    "freeze a worker": 5,
    "freeze a child": 4,
    "kill a beat": 2,
    "kill the store": 2,
    "freeze the store": 2,
    "cut the store's connections": 2,
    "kill the broker": 2,
    "freeze the broker": 1,
    "cut the broker's connections": 2,
    "empty the queue": 4,
    "copy a message": 8,
}
_SLEEPS = ("freeze a worker", "freeze a child")

#: How long a fault is kept up, s.
SHORTEST_S, LONGEST_S = 0.5, 4.0
#: Who wakes up after this has been taken for lost long since: leases end after five seconds, steps after eight.
LONGEST_SLEEP_S = 12.0


def plan(seed: int, *, seconds: float) -> list[Blow]:
    """The same for the same seed, as far as it goes."""
    blows: list[Blow] = []
    dice, at_s = random.Random(seed), 0.0
    faults, weights = list(WEIGHTS), list(WEIGHTS.values())
    while (at_s := at_s + dice.uniform(0.5, 3.5)) < seconds:
        (fault,) = dice.choices(faults, weights)
        longest_s = LONGEST_SLEEP_S if fault in _SLEEPS else LONGEST_S
        blow = Blow(round(at_s, 2), fault, dice.random(), round(dice.uniform(SHORTEST_S, longest_s), 2))
        if blow.at_s + blow.for_s <= seconds:
            blows.append(blow)
    return blows


class _HitNobody(Exception):
    """There was nobody to hit, or somebody who lay low already."""


#: What undoes a fault; None if nothing has to.
Healing = Callable[[], object]


class Nemesis:
    """Faults last while others begin."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._hands: dict[str, Callable[[Blow], Healing | None]] = {
            "kill a child": lambda blow: self._signal_child(blow, signal.SIGKILL),
            "kill a worker": self._kill_worker,
            "freeze a worker": self._freeze_worker,
            "freeze a child": lambda blow: self._signal_child(blow, signal.SIGSTOP),
            "kill a beat": self._kill_beat,
            "kill the store": lambda _: self._hit(stage.store.kill, stage.store.start, "store"),
            "freeze the store": lambda _: self._hit(stage.store.freeze, stage.store.thaw, "store"),
            "cut the store's connections": lambda _: self._cut(stage.store, "store"),
            "kill the broker": lambda _: self._hit(stage.broker.kill, stage.broker.start, "broker"),
            "freeze the broker": lambda _: self._hit(stage.broker.freeze, stage.broker.thaw, "broker"),
            "cut the broker's connections": lambda _: self._cut(stage.broker, "broker"),
            "empty the queue": lambda _: self._require(stage.empty_queue()),
            "copy a message": lambda blow: self._require(stage.copy_message(blow.target)),
        }
        assert set(self._hands) == set(WEIGHTS)
        self.cuts: list[Cut] = []
        self.done: list[str] = []
        self.missed: list[str] = []
        #: What lies low.
        self._down: set[str] = set()
        #: When what is healed, by `time.monotonic`; the number decides between two at the same time.
        self._healings: list[tuple[float, int, Healing]] = []
        self._numbers = count()

    def strike(self, blow: Blow) -> None:
        """Carry it out; `wait_until` heals it."""
        try:
            heal = self._hands[blow.fault](blow)
        except _HitNobody:
            self.missed.append(blow.fault)
            return
        self.done.append(blow.fault)
        if heal is not None:
            heappush(self._healings, (time.monotonic() + blow.for_s, next(self._numbers), heal))

    def wait_until(self, end_s: float) -> None:
        """Until this time, by `time.monotonic`, and heal what is to be healed by then."""
        while self._healings and self._healings[0][0] <= end_s:
            at_s, _, heal = heappop(self._healings)
            _sleep_until(at_s)
            heal()
        _sleep_until(end_s)

    def heal(self) -> None:
        """Wait until everything is whole again."""
        if self._healings:
            self.wait_until(max(self._healings)[0])

    def _signal_child(self, blow: Blow, number: signal.Signals) -> Healing | None:
        children = sorted(pid for worker in self._stage.workers for pid in worker.child_pids())
        self._require(children)
        pid = children[int(blow.target * len(children))]
        self.cuts.append(Cut(frozenset({pid}), time.time()))
        _signal(pid, number)
        return partial(_signal, pid, signal.SIGCONT) if number == signal.SIGSTOP else None

    def _kill_worker(self, blow: Blow) -> Healing:
        index = int(blow.target * len(self._stage.workers))
        self._note(index)
        return self._hit(self._stage.workers[index].kill, partial(self._stage.start_worker, index), f"worker {index}")

    def _freeze_worker(self, blow: Blow) -> Healing:
        index = int(blow.target * len(self._stage.workers))
        worker = self._stage.workers[index]
        self._note(index)
        return self._hit(
            partial(worker.signal_all, signal.SIGSTOP), partial(worker.signal_all, signal.SIGCONT), f"worker {index}"
        )

    def _note(self, index: int) -> None:
        self.cuts.append(Cut(frozenset(self._stage.workers[index].child_pids()), time.time()))

    def _kill_beat(self, blow: Blow) -> Healing:
        index = int(blow.target * len(self._stage.beats))
        return self._hit(self._stage.beats[index].kill, partial(self._stage.start_beat, index), f"beat {index}")

    def _hit(self, strike: Callable[[], object], heal: Healing, target: str) -> Healing:
        self._require(target not in self._down)
        strike()
        self._down.add(target)

        def raise_up() -> None:
            heal()
            self._down.remove(target)

        return raise_up

    def _cut(self, server: Server, target: str) -> None:
        self._require(target not in self._down)
        server.cut_connections()

    @staticmethod
    def _require(somebody: object) -> None:
        if not somebody:
            raise _HitNobody


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _sleep_until(at_s: float) -> None:
    time.sleep(max(0.0, at_s - time.monotonic()))
