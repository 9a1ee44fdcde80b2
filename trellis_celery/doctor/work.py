"""How the work goes: who looks for late steps, and what waits for somebody."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from trellis_celery.doctor import words
from trellis_celery.doctor.finding import Checks, Finding, note, ok, problem, warning

#: The check is missed after so many intervals; then workers take over, which takes them another one or two.
_MISSED = 5
#: An archive or a relay that is so far behind is no longer only busy.
_BEHIND_MS = 300_000


class WorkFacts(Struct, frozen=True, kw_only=True):
    #: By the store's time.
    now_ms: int
    #: 0: never.
    checked_at_ms: int = 0
    checked_by: str = ""
    check_interval_ms: int = 1_000
    #: Processes that are not finished.
    live: int = 0
    #: Clocks that have run out and that nobody took up.
    due: int = 0
    #: Processes with an open incident.
    incidents: int = 0
    #: Types of processes in the store that nothing here declares.
    undeclared: frozenset[str] = field(default_factory=frozenset)
    has_archive: bool = False
    retention_ms: int = 0
    #: Finished processes that stay in the store.
    finished: int = 0
    #: Of them, those that wait for the archive, and since when.
    waiting: int = 0
    waiting_since_ms: int | None = None
    history_backlog: int = 1_000_000
    #: Processes with events that other services have not been told; None: none are to be.
    unrelayed: int | None = None
    unrelayed_since_ms: int | None = None


def last_check(facts: WorkFacts) -> Iterator[Finding]:
    age_ms = facts.now_ms - facts.checked_at_ms
    who = "Start celery -A … beat, and a worker that reads the queue of trellis_celery.check_timeouts."
    if not facts.checked_at_ms:
        yield problem(
            "nobody has ever looked for late steps",
            why="What is late or lost does not come back.",
            advice=who,
        )
    elif age_ms > _MISSED * facts.check_interval_ms:
        yield problem(
            f"the last check was {words.duration(age_ms)} ago, by {facts.checked_by}",
            why="What is late or lost does not come back until somebody looks again.",
            advice=who,
        )
    elif facts.checked_by.startswith("worker "):
        yield warning(
            f"the last check was {words.duration(age_ms)} ago, by {facts.checked_by} in place of beat",
            why="Beat is down, or its checks do not get through: workers stand in, each time three intervals late.",
            advice="Look at beat, and at the queue of trellis_celery.check_timeouts; compare the machines' clocks.",
        )
    else:
        yield ok(f"the last check was {words.duration(max(age_ms, 0))} ago, by {facts.checked_by}")


def due(facts: WorkFacts) -> Iterator[Finding]:
    age_ms = facts.now_ms - facts.checked_at_ms
    if facts.due and age_ms > _MISSED * facts.check_interval_ms:
        yield problem(
            f"{words.count(facts.due, 'step')} late, and nobody looks",
            why="They would have been sent again by now.",
            advice="Start beat and a worker; `celery -A … trellis check` looks once.",
        )
    elif facts.due:
        yield note(
            f"{words.count(facts.due, 'step')} late, to be taken up by the next check",
            why="More and more of them mean that the checks cannot keep up.",
            advice="Look again in a minute; then at the broker, and at trellis_check_budget_ms.",
        )
    else:
        yield ok("no step is late")


def incidents(facts: WorkFacts) -> Iterator[Finding]:
    if facts.incidents:
        yield warning(
            f"{words.count(facts.incidents, 'process', 'processes')} with an open incident",
            why="A step was given up, and nobody has dealt with it.",
            advice="celery -A … trellis incidents; then retry, complete or close each.",
        )
    else:
        yield ok("no open incidents")


def undeclared(facts: WorkFacts) -> Iterator[Finding]:
    if facts.undeclared:
        yield warning(
            f"processes of types that nothing here declares: {words.several(sorted(facts.undeclared))}",
            why="A type that was renamed or removed leaves its processes without tasks; another app that shares the "
            "store with the same trellis_key_prefix looks the same.",
            advice="ProcessType(name=…) keeps the stored name of a renamed class; give each app its own prefix.",
        )
    elif facts.live or facts.finished:
        yield ok("every process in the store is of a declared type")


def history(facts: WorkFacts) -> Iterator[Finding]:
    behind_ms = 0 if facts.waiting_since_ms is None else facts.now_ms - facts.waiting_since_ms
    if facts.has_archive and (behind_ms > _BEHIND_MS or facts.waiting > facts.history_backlog // 2):
        yield problem(
            f"{words.count(facts.waiting, 'process', 'processes')} waiting for the archive, the first for "
            f"{words.duration(behind_ms)}",
            why=f"Beyond {facts.history_backlog:,} of them the oldest are removed unarchived, after their retention.",
            advice="celery -A … trellis archive says what is wrong; look at trellis_history_url, beat and the log.",
        )
    elif not facts.retention_ms:
        yield note(
            f"finished processes stay in the store for ever: {facts.finished:,} so far",
            why="The store grows without end.",
            advice="trellis_retention_ms = 604_800_000 keeps them for a week; trellis_history_url archives them first.",
        )
    elif facts.has_archive:
        yield ok(f"{words.count(facts.waiting, 'process', 'processes')} waiting for the archive")
    else:
        yield ok(f"finished processes are removed after {words.duration(facts.retention_ms)}")


def outbox(facts: WorkFacts) -> Iterator[Finding]:
    if facts.unrelayed is None:
        return
    behind_ms = 0 if facts.unrelayed_since_ms is None else facts.now_ms - facts.unrelayed_since_ms
    found = f"{words.count(facts.unrelayed, 'process', 'processes')} with events to be relayed"
    if behind_ms > _BEHIND_MS:
        yield problem(
            f"{found}, the first for {words.duration(behind_ms)}",
            why="Other services do not hear what happened. Nothing is lost: it is told when the relay works again.",
            advice="Look at beat and the workers, at trellis_events_exchange, and at the log for what the broker says.",
        )
    else:
        yield ok(found)


CHECKS: Checks[WorkFacts] = {
    "check-age": last_check,
    "check-due": due,
    "incidents": incidents,
    "types-declared": undeclared,
    "history": history,
    "outbox": outbox,
}
