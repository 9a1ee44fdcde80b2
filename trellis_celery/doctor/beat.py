"""The periodic tasks of trellis, as the schedulers of Celery beat have them."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from trellis_celery.doctor import words
from trellis_celery.doctor.finding import Checks, Finding, note, ok, problem, warning

#: Late steps are found this much later at the most, where nobody complains.
_LONG_INTERVAL_MS = 60_000
#: A check that waits longer in a queue than so many intervals only adds to the queue.
_STALE_INTERVALS = 10


class EntryFacts(Struct, frozen=True, kw_only=True):
    """One entry that has to be in the schedule."""

    name: str
    #: The task it has to send.
    task: str
    #: What trellis would write there.
    interval_ms: int
    #: The task that the configuration's entry sends; None: there is no entry.
    scheduled_task: str | None
    #: None: the entry says something else than an interval.
    scheduled_ms: int | None
    #: After what time a message of it is thrown away; None: never.
    expires_ms: int | None
    #: Workers do it themselves when nobody has for some time.
    has_stand_in: bool
    #: What a scheduler with a database of its own has done to it: "is disabled", …; empty: nothing wrong.
    altered: str = ""


class BeatFacts(Struct, frozen=True, kw_only=True):
    entries: tuple[EntryFacts, ...]
    worker_lost_ms: int = 5_000
    #: The shortest timeout of a step; None: no step has one.
    shortest_timeout_ms: int | None = None


def entry(facts: BeatFacts) -> Iterator[Finding]:
    for each in facts.entries:
        if each.scheduled_task is None:
            yield _missing(each, "is not in the beat schedule")
        elif each.scheduled_task != each.task:
            yield _missing(each, f"sends {each.scheduled_task}, not {each.task}")
        elif each.altered:
            yield _missing(each, each.altered)
        else:
            yield ok(f"{each.name} is in the beat schedule")


def _missing(each: EntryFacts, what: str) -> Finding:
    advice = (
        "Add to app.conf.beat_schedule, instead of assigning it after the app was finalized; enable the entry in the "
        "scheduler's database."
    )
    if each.has_stand_in:
        return warning(
            f"{each.name} {what}",
            why="Beat does not send the check. Workers stand in for it, each time three intervals late.",
            advice=advice,
        )
    return problem(
        f"{each.name} {what}",
        why="Nobody else archives and removes finished processes: they pile up in the store.",
        advice=advice,
    )


def interval(facts: BeatFacts) -> Iterator[Finding]:
    for each in facts.entries:
        if each.scheduled_task != each.task or not each.has_stand_in:
            continue
        scheduled_ms = each.scheduled_ms
        found = f"the check is sent every {words.duration(scheduled_ms or 0)}"
        if scheduled_ms is None or scheduled_ms > each.interval_ms:
            yield warning(
                found if scheduled_ms is not None else "the check is sent by a calendar, not by an interval",
                why=f"trellis_check_interval_ms says every {words.duration(each.interval_ms)}, and workers take "
                "the check for missed after three of those.",
                advice="Set trellis_check_interval_ms, and leave the entry out of your beat_schedule.",
            )
        elif scheduled_ms > max(facts.worker_lost_ms, _LONG_INTERVAL_MS) or _exceeds(
            scheduled_ms, facts.shortest_timeout_ms
        ):
            yield warning(
                found,
                why="What is late is found so much later: longer than the shortest timeout, or a minute.",
                advice="trellis_check_interval_ms = 1000: a check that finds nothing costs less than a millisecond.",
            )
        else:
            yield ok(found)


def _exceeds(interval_ms: int, timeout_ms: int | None) -> bool:
    return timeout_ms is not None and interval_ms > timeout_ms


def expires(facts: BeatFacts) -> Iterator[Finding]:
    for each in facts.entries:
        if each.scheduled_task != each.task or not each.has_stand_in or each.scheduled_ms is None:
            continue
        if each.expires_ms is None or each.expires_ms > _STALE_INTERVALS * each.scheduled_ms:
            waits = "without end" if each.expires_ms is None else words.duration(each.expires_ms)
            yield warning(
                f"a check may wait {waits} in its queue",
                why="While the queue is long, checks pile up in it and hold up the tasks behind them.",
                advice='Leave "expires" out of the entry: the task has one of its own.',
            )
        elif each.expires_ms < each.scheduled_ms:
            yield note(
                f"a check is thrown away after {words.duration(each.expires_ms)}, sooner than the next one comes",
                why="A worker whose clock is ahead by so much throws every check away.",
                advice='Leave "expires" out of the entry: the task has one of its own.',
            )
        else:
            yield ok(f"a check that waits longer than {words.duration(each.expires_ms)} is thrown away")


CHECKS: Checks[BeatFacts] = {"beat-entry": entry, "beat-interval": interval, "beat-expires": expires}
