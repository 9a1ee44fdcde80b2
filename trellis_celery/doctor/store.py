"""What is asked of every store: that it is there, near, seen by all, and that its time is everybody's."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

from msgspec import Struct

from trellis_celery.doctor import words
from trellis_celery.doctor.finding import Checks, Finding, note, ok, problem, warning

#: A task that is tracked waits for three round trips.
_FAR_MS = 50
#: Clocks of hosts that are kept by NTP are nearer than this, and DynamoDB tells whole seconds.
_SAME_TIME_MS = 2_000


class Reach(Enum):
    """Who sees what is in a store."""

    #: Whoever has its URL.
    EVERYWHERE = auto()
    #: Programs of one machine, in a file.
    MACHINE = auto()
    #: The program that made it, in its memory.
    PROGRAM = auto()


class StoreFacts(Struct, frozen=True, kw_only=True):
    #: The URL without its password, or what was given to `Trellis(app, store=…)`.
    place: str
    #: Which setting names it.
    setting: str = "trellis_url"
    #: None: it could not be found out.
    reach: Reach | None = Reach.EVERYWHERE
    #: The middle one of several round trips, ms.
    round_trip_ms: float | None = None
    #: The store's time less this machine's, ms.
    offset_ms: float | None = None
    #: A round trip may take this long, ms.
    timeout_ms: int = 2_000


def reachable(facts: StoreFacts) -> Iterator[Finding]:
    if facts.round_trip_ms is None:
        return
    if facts.round_trip_ms > min(_FAR_MS, facts.timeout_ms / 4):
        yield warning(
            f"{facts.place} answers in {words.duration(facts.round_trip_ms)}",
            why="Every tracked task waits for three round trips: when it is sent, when it starts and when it ends.",
            advice="Put the store near the workers, or find out what slows it down.",
        )
    else:
        yield ok(f"{facts.place} answers in {words.duration(facts.round_trip_ms)}")


def unreachable(place: str, *, setting: str, error: str, is_archive: bool = False) -> Finding:
    """What is said of a store that could not be asked anything."""
    found, advice = f"{place}: {error}", f"Start it, or correct {setting}; look at firewalls and passwords."
    if is_archive:
        return problem(found, why="Finished processes pile up in the store until it is back.", advice=advice)
    return problem(
        found,
        why="While the store is away tasks run untracked, nothing that is lost comes back, and start_process raises.",
        advice=advice,
    )


def shared(facts: StoreFacts) -> Iterator[Finding]:
    if facts.reach is Reach.PROGRAM:
        yield problem(
            f"{facts.place} keeps processes in the memory of each program",
            why="A worker does not see what a web process started, and all is gone when the program ends.",
            advice="Use it in tests only, and set trellis_url to a server: redis://…, postgresql+psycopg://…",
        )
    elif facts.reach is Reach.MACHINE:
        yield note(
            f"{facts.place} is a file",
            why="Only programs on this machine see the processes in it.",
            advice="Keep web processes, workers and beat on this machine, or take another store.",
        )
    elif facts.reach is Reach.EVERYWHERE:
        yield ok("every program sees the same processes")


def clock(facts: StoreFacts) -> Iterator[Finding]:
    if facts.offset_ms is None or facts.reach in (Reach.MACHINE, Reach.PROGRAM):
        return
    if abs(facts.offset_ms) < _SAME_TIME_MS:
        yield ok("the store and this machine have the same time")
        return
    way = "behind" if facts.offset_ms > 0 else "ahead of"
    yield warning(
        f"this machine is {words.duration(abs(facts.offset_ms))} {way} the store",
        why="trellis goes by the store's time alone, but Celery judges `expires` and `eta` by each machine's own: with "
        "clocks that differ, workers throw the checks of beat away as expired, and delayed tasks start late.",
        advice="Let NTP (chrony, systemd-timesyncd) keep the time of every machine, and look at the others as well.",
    )


CHECKS: Checks[StoreFacts] = {
    "store-reachable": reachable,
    "store-shared": shared,
    "store-clock": clock,
}
