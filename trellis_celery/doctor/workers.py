"""The workers that answer right now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct, field

from trellis_celery.doctor import words
from trellis_celery.doctor.finding import Checks, Finding, note, ok, problem, warning

#: Pools that never end a body, whatever its time limits say.
_POOLS_WITHOUT_LIMITS = ("thread", "solo")
#: Stands among fingerprints of keys for messages that nobody has signed.
UNSIGNED = "unsigned"
#: Settings that say where things are.
_PLACES = ("trellis_url", "trellis_tracker_url", "trellis_history_url")


class WorkerFacts(Struct, frozen=True, kw_only=True):
    name: str
    #: "prefork", "thread", "solo", "gevent", …
    pool: str = "prefork"
    #: The tasks it knows.
    tasks: frozenset[str] = frozenset()
    queues: frozenset[str] = frozenset()
    #: The release of trellis that it runs; None: of none, or of one that does not tell.
    version: str | None = None
    has_trellis: bool = True
    #: What tells its keys of signatures apart, that which signs first; empty: it has none.
    keys: tuple[str, ...] = ()
    #: Its `trellis_*` settings as far as they are no secrets.
    settings: Mapping[str, str] = field(default_factory=dict)
    #: The hard limit of tasks that have none of their own: `--time-limit`.
    time_limit_ms: int | None = None


class WorkersFacts(Struct, frozen=True, kw_only=True):
    workers: tuple[WorkerFacts, ...]
    #: Ours.
    version: str = ""
    keys: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    #: Tasks that do steps.
    tasks: frozenset[str] = frozenset()
    #: Of them, those with a time limit.
    limited_tasks: frozenset[str] = frozenset()
    #: Where they, and the check, are sent to.
    queues: frozenset[str] = frozenset()

    @property
    def concerned(self) -> list[WorkerFacts]:
        """Those that run steps of ours; others share the broker."""
        return [worker for worker in self.workers if worker.tasks & self.tasks]


def answer(facts: WorkersFacts) -> Iterator[Finding]:
    if facts.concerned:
        yield ok(
            f"{words.count(len(facts.concerned), 'worker')}: {words.several([one.name for one in facts.concerned])}"
        )
    else:
        others = f"; {words.count(len(facts.workers), 'worker')} of other tasks" if facts.workers else ""
        yield warning(
            f"no worker answers that has tasks of steps{others}",
            why="Steps wait until one runs, and nobody stands in for a beat that is down.",
            advice="celery -A … worker; if workers run, look at broker_url and worker_enable_remote_control of both.",
        )


def tracking(facts: WorkersFacts) -> Iterator[Finding]:
    without = [worker.name for worker in facts.concerned if not worker.has_trellis]
    if without:
        yield problem(
            f"without trellis: {words.several(without)}",
            why="They run steps and do not say so: each is sent again while it runs.",
            advice="Restart them with the code that makes Trellis(app).",
        )
    elif facts.concerned:
        yield ok("all workers track")


def version(facts: WorkersFacts) -> Iterator[Finding]:
    tracked = [worker for worker in facts.concerned if worker.has_trellis]
    others = [f"{one.name} ({one.version or 'older'})" for one in tracked if one.version != facts.version]
    if others:
        yield warning(
            f"this is trellis {facts.version}, and there are {words.several(others)}",
            why="Releases side by side are meant for the minutes of an upgrade.",
            advice="Restart the others, or the programs of this one, on one release.",
        )
    elif tracked:
        yield ok(f"all workers run trellis {facts.version}")


def settings(facts: WorkersFacts) -> Iterator[Finding]:
    tracked = [worker for worker in facts.concerned if worker.has_trellis and worker.settings]
    elsewhere: set[str] = set()
    otherwise: set[str] = set()
    for worker in tracked:
        for name in sorted(facts.settings.keys() & worker.settings.keys()):
            here, there = facts.settings[name], worker.settings[name]
            if here != there:
                told = f"{name} is {there or 'not set'} in {worker.name}, {here or 'not set'} here"
                (elsewhere if name in _PLACES else otherwise).add(told)
    if elsewhere:
        yield warning(
            words.several(sorted(elsewhere), separator="; "),
            why="A worker with another store does not find the processes that are started here: it runs their steps "
            "untracked, and they are sent again and again.",
            advice="Give every program the same settings: compare their environment variables first. Two names of one "
            "server look like this as well.",
        )
    if otherwise:
        yield note(
            words.several(sorted(otherwise), separator="; "),
            why="Two programs judge one step by different rules.",
            advice="Give every program the same settings, unless it differs on purpose.",
        )
    if tracked and not elsewhere and not otherwise:
        yield ok("all workers have the settings that are seen here")


def signing(facts: WorkersFacts) -> Iterator[Finding]:
    tracked = [worker for worker in facts.concerned if worker.has_trellis]
    strangers = [one.name for one in tracked if not (_trusts(one.keys, facts.keys) and _trusts(facts.keys, one.keys))]
    lenient = [one.name for one in tracked if one.keys and _trusts(one.keys, ())]
    if strangers:
        yield problem(
            f"another trellis_signing_key, or none: {words.several(strangers)}",
            why="What one of two programs signs, the other takes for forged: it runs the tasks untracked, and the "
            "steps are sent again and again.",
            advice="Give every program the same keys. To change them, add the new one behind the old one first.",
        )
    elif lenient:
        yield warning(
            f"messages that nobody has signed are taken as well: {words.several(lenient)}",
            why="There is an empty key in trellis_signing_key, so who leaves the signature out can forge a header.",
            advice="Take it out as soon as every program has a key and older messages are through.",
        )
    elif tracked:
        yield ok("all workers trust the same signatures" if facts.keys else "messages are not signed")


def _trusts(keys: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Whether a program with these keys takes what one with those has signed."""
    return not keys or (others[0] if others else UNSIGNED) in keys


def queues(facts: WorkersFacts) -> Iterator[Finding]:
    if not facts.concerned:
        return
    read = {queue for worker in facts.workers for queue in worker.queues}
    unread = facts.queues - read
    if unread:
        yield warning(
            f"no worker reads {words.several(sorted(unread))}",
            why="Steps that are sent there wait.",
            advice=f"celery -A … worker -Q {','.join(sorted(unread))}; or look at task_routes.",
        )
    else:
        yield ok("every queue of steps is read")


def pools(facts: WorkersFacts) -> Iterator[Finding]:
    limited = [
        f"{worker.name} ({worker.pool})"
        for worker in facts.concerned
        if worker.pool in _POOLS_WITHOUT_LIMITS and worker.tasks & facts.limited_tasks
    ]
    if limited:
        yield warning(
            f"time limits have no effect: {words.several(limited)}",
            why="Threads and the solo pool cannot end a body: one that hangs keeps its slot.",
            advice="Give the calls in the body time limits of their own, or run these tasks with the prefork pool.",
        )
    elif facts.concerned:
        yield ok(f"pools: {', '.join(sorted({worker.pool for worker in facts.concerned}))}")


CHECKS: Checks[WorkersFacts] = {
    "workers-answer": answer,
    "workers-track": tracking,
    "workers-version": version,
    "workers-settings": settings,
    "workers-signing": signing,
    "workers-queues": queues,
    "workers-pool": pools,
}
