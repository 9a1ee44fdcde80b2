"""Redis and Valkey, as a store or as the broker: what they forget, and when."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from trellis_celery.doctor import words
from trellis_celery.doctor.finding import Checks, Finding, note, ok, problem, warning

_OLDEST = (6, 2)
#: Above this part of `maxmemory` it is time to act.
_NEARLY_FULL = 0.9


class RedisFacts(Struct, frozen=True, kw_only=True):
    """One server. What it does not tell is None."""

    product: str = "Redis"
    version: tuple[int, ...] = (7, 2)
    # Memory
    max_memory: int = 0
    used_memory: int = 0
    policy: str = "noeviction"
    # Persistence
    has_aof: bool = True
    #: "always", "everysec" or "no".
    fsync: str | None = "everysec"
    #: As in `save`; empty: no snapshots.
    snapshots: str | None = "3600 1 300 100 60 10000"
    #: What the server says went wrong as it wrote last.
    failed_writes: tuple[str, ...] = ()
    # Replication
    is_replica: bool = False
    replicas: int = 0
    #: `min-replicas-to-write`; 0: writes wait for nobody.
    min_replicas: int = 0
    #: Replicas that are not too far behind; told only with `min_replicas`.
    good_replicas: int | None = None
    #: Sentinel or a cluster puts a replica in the place of a master that is lost.
    has_failover: bool = False


def version(facts: RedisFacts) -> Iterator[Finding]:
    text = f"{facts.product} {'.'.join(map(str, facts.version))}"
    if facts.product not in ("Redis", "Valkey"):
        yield note(
            text,
            why="Only Redis and Valkey are tested: trellis needs scripts that are one atomic write.",
            advice="Run the contract suite of trellis_celery.testing against it before you rely on it.",
        )
    elif facts.product == "Redis" and facts.version < _OLDEST:
        yield problem(
            text,
            why="trellis needs commands of Redis 6.2, and is tested with none that is older.",
            advice="Upgrade to Redis 6.2 or newer, or to Valkey.",
        )
    else:
        yield ok(text)


def eviction(facts: RedisFacts) -> Iterator[Finding]:
    limit = f"maxmemory {words.size(facts.max_memory)}" if facts.max_memory else "no maxmemory"
    found = f"maxmemory-policy {facts.policy}, {limit}"
    if facts.policy == "noeviction":
        yield ok(found)
    elif facts.policy.startswith("volatile-"):
        yield note(
            found,
            why="Nothing of trellis or of Celery's queues has a time to live, so it stays; results and caches may go.",
            advice="CONFIG SET maxmemory-policy noeviction, and in the configuration file.",
        )
    elif facts.max_memory:
        yield problem(
            found,
            why="When memory is full the server throws keys away, and with them steps, deadlines and messages.",
            advice="CONFIG SET maxmemory-policy noeviction, and in the configuration file. Give caches another server.",
        )
    else:
        yield warning(
            found,
            why="As soon as somebody sets maxmemory, the server throws steps, deadlines and messages away.",
            advice="CONFIG SET maxmemory-policy noeviction, and in the configuration file.",
        )


def memory(facts: RedisFacts) -> Iterator[Finding]:
    used = words.size(facts.used_memory)
    if not facts.max_memory:
        yield ok(f"{used} used, no limit set")
        return
    found = f"{used} of {words.size(facts.max_memory)} used"
    if facts.used_memory < _NEARLY_FULL * facts.max_memory:
        yield ok(found)
        return
    rate = warning if facts.used_memory < facts.max_memory else problem
    yield rate(
        found,
        why="A full server refuses writes: tasks then run untracked, or cannot be sent.",
        advice="Raise maxmemory, set trellis_retention_ms so that finished processes go, and look for other keys.",
    )


def persistence(facts: RedisFacts) -> Iterator[Finding]:
    for failed in facts.failed_writes:
        yield problem(
            failed,
            why="What was not written to disk is lost with the server, and by default it refuses further writes.",
            advice="Look into the server's log: a full disk, missing rights, or too little memory to fork.",
        )
    if facts.has_aof:
        yield _append_only(facts)
    elif facts.snapshots == "":
        yield problem(
            "neither append-only file nor snapshots: nothing is on disk",
            why="A restart forgets every process, every deadline and every queued message.",
            advice="CONFIG SET appendonly yes and appendfsync everysec, and in the configuration file.",
        )
    else:
        told = f" (save {facts.snapshots})" if facts.snapshots else ""
        yield warning(
            f"snapshots only{told}, no append-only file",
            why="A crash loses everything since the last snapshot: with the usual settings up to an hour.",
            advice="CONFIG SET appendonly yes and appendfsync everysec, and in the configuration file.",
        )


def _append_only(facts: RedisFacts) -> Finding:
    if facts.fsync == "no":
        return warning(
            "append-only file with appendfsync no",
            why="A power failure loses what the system had not written yet: in a trial everything. A server that is "
            "only killed loses nothing.",
            advice="CONFIG SET appendfsync everysec, and in the configuration file.",
        )
    if facts.fsync is None:
        return note(
            "append-only file; the server does not tell appendfsync",
            why="everysec loses about the last second in a power failure, no loses more.",
            advice="Ask whoever runs the server for appendfsync everysec or always.",
        )
    cost = "nothing acknowledged" if facts.fsync == "always" else "about the last second"
    return ok(f"append-only file with appendfsync {facts.fsync}: a power failure costs {cost}")


def replication(facts: RedisFacts) -> Iterator[Finding]:
    if facts.is_replica:
        yield problem(
            "this server is a replica",
            why="It takes no writes.",
            advice="Name the master, or reach it by sentinel://…",
        )
    elif facts.min_replicas and facts.good_replicas is not None and facts.good_replicas < facts.min_replicas:
        yield problem(
            f"{facts.good_replicas} of {words.count(facts.min_replicas, 'replica')} are near enough",
            why="The server refuses every write until min-replicas-to-write are there.",
            advice="Look at the replicas: are they up, and in step?",
        )
    elif facts.replicas and facts.min_replicas:
        yield ok(f"{words.count(facts.replicas, 'replica')}, min-replicas-to-write {facts.min_replicas}")
    elif facts.replicas and facts.has_failover:
        yield warning(
            f"{words.count(facts.replicas, 'replica')}, min-replicas-to-write 0",
            why="A master that is cut off goes on taking writes, and loses them when it comes back as a replica: in a "
            "trial 17,728 of 20,245 that were acknowledged. With min-replicas-to-write 1 it stops after the lag.",
            advice="CONFIG SET min-replicas-to-write 1 and min-replicas-max-lag 10 on every server, and in the files.",
        )
    elif facts.has_failover and not facts.replicas:
        yield warning(
            "no replica",
            why="There is nothing to fail over to: with this server everything stops.",
            advice="Add a replica, or use the server without Sentinel or cluster.",
        )
    else:
        yield ok("one server" if not facts.replicas else f"{words.count(facts.replicas, 'replica')}, no failover")


CHECKS: Checks[RedisFacts] = {
    "redis-version": version,
    "redis-eviction": eviction,
    "redis-memory": memory,
    "redis-persistence": persistence,
    "redis-replication": replication,
}
