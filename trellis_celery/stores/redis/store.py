"""The process store in Redis.

Decisions are made in Python; `commit.lua` writes one only if the step's version is still the one it was made for. Every
script carries a token or a fresh id by which it recognises its own repetition: the client sends a call again when the
reply was lost. Nothing has a time to live, because an expiry would be a decision that nobody made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from heapq import merge
from importlib.resources import files
from itertools import chain, islice
from typing import Any

from trellis_celery import errors
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.identity import SHARDS, BusinessKey, is_process_id, shard_of
from trellis_celery.domain.process import OWN_RECORD, Process
from trellis_celery.domain.queries import Finished, Position, ProcessFilter, ProcessSummary, Stats
from trellis_celery.domain.step import ProcessStep
from trellis_celery.logs import EventLogger
from trellis_celery.ports import EVERYTHING, Change, Committed, Conflict, Due, LastCheck, LeaseKey, StepKey, Unrelayed
from trellis_celery.stores import classes, codec
from trellis_celery.stores.digests import digest
from trellis_celery.stores.redis import listing, records, writes
from trellis_celery.stores.redis.census import Census
from trellis_celery.stores.redis.connect import Client
from trellis_celery.stores.redis.keys import ALL_SHARDS, Keys, lease_member, read_deadline, read_lease, step_member
from trellis_celery.stores.redis.line import Line, all_good, whole
from trellis_celery.stores.redis.lists import ProcessLists
from trellis_celery.stores.redis.outbox import RedisOutbox
from trellis_celery.stores.redis.steady import Steady
from trellis_celery.stores.redis.translate import as_ours, translated
from trellis_celery.stores.redis.wires import Wires
from trellis_celery.stores.redis.writes import total_field
from trellis_celery.stores.server_clock import ServerClock
from trellis_celery.stores.tallies import tallies_of_untracked

logger = EventLogger(__name__)

#: A checker's and a renewer's idea of the time may be so old, seconds.
CLOCK_AGE_S = 10.0

#: Of a process, by the digit of its class.
_STATES = {listing.class_digit(number): each.state for number, each in enumerate(classes.CLASSES)}

ReadMember = Callable[[bytes, int], Due]


class RedisStore:
    """A `ProcessStore` in Redis or Valkey.

    prefix
        What all keys start with. Two prefixes in one database know nothing of each other.
    """

    def __init__(self, client: Client, *, prefix: str = "trellis") -> None:
        #: What all keys start with.
        self.prefix = prefix
        self._client: Any = client
        self._keys = Keys(prefix)
        self._clock = ServerClock()
        wires = Wires.like_those_of(client)
        self._commit = Steady(client.register_script(_script("commit.lua")), wires)
        self._create = Steady(client.register_script(_script("create.lua")), wires)
        self._move = Steady(client.register_script(_script("move.lua")), wires)
        self._delete = Steady(client.register_script(_script("delete.lua")), wires)
        self._line = Line(client)
        self._lists = ProcessLists(self._line, self._keys)
        self._census = Census(self._line, self._keys)
        relayed = Steady(client.register_script(_script("relayed.lua")), wires)
        self._outbox = RedisOutbox(self._line, self._keys, relayed, self._move)

    @property
    def client(self) -> Client:
        """By which it reaches the server."""
        client: Client = self._client
        return client

    def now_ms(self) -> int:
        if not self._clock.is_set:
            self._ask_time()
        return self._clock.now_ms()

    def _ask_time(self) -> None:
        called_at_s = time.monotonic()
        with translated():
            seconds, microseconds = self._client.time()
        self._clock.correct(seconds * 1000 + microseconds / 1000, called_at_s=called_at_s)

    def _correct_clock(self) -> None:
        """For what comes every second, perhaps in a program that never writes, whose replies tell the time."""
        if self._clock.age_s > CLOCK_AGE_S:
            self._ask_time()

    # Processes

    def create(self, process: Process, *, replaces: str | None = None, is_announced: bool = False) -> str:
        shard = shard_of(process.id)
        started = Event(EventKind.PROCESS_STARTED, OWN_RECORD, 0, process.started_at_ms)
        deadlines = [
            (step_member(StepKey(process.id, record.name)), record.deadline_ms)
            for record in (process.own, *process.steps.values())
            if record.deadline_ms is not None
        ]
        called_at_s = time.monotonic()
        with translated(process.id):
            _, now_ms, live_id = self._create(
                keys=[
                    self._keys.process(process.id),
                    self._keys.deadlines(shard),
                    self._keys.log(process.id),
                    self._keys.live(shard),
                    self._keys.index(shard),
                    self._keys.types(shard),
                    self._keys.outbox(shard),
                    self._keys.totals(shard),
                ],
                args=[
                    process.id,
                    codec.dump_business_key(process.key),
                    replaces or "",
                    process.process_type,
                    codec.dump_event(started),
                    *listing.entries(listing.seed_of(process), classes.class_of(classes.counts_of(process))),
                    digest(process.process_type) + total_field(OWN_RECORD, started.kind).encode(),
                    "1" if is_announced else "",
                    len(deadlines),
                    *chain.from_iterable(deadlines),
                    *chain.from_iterable(records.new_fields(process)),
                ],
            )
        self._clock.correct(now_ms, called_at_s=called_at_s)
        return str(live_id.decode())

    def load(self, process_id: str) -> Process:
        with translated(process_id):
            fields = self._client.hgetall(self._keys.process(process_id))
        return records.read_process(process_id, fields)

    def load_steps(self, keys: Sequence[StepKey]) -> list[ProcessStep | Exception | None]:
        ours = [key for key in keys if is_process_id(key.process_id)]
        values = self._line.round_trip(
            lambda pipe: [pipe.hget(self._keys.process(key.process_id), f"s:{key.step_name}") for key in ours]
        )
        found = {key: records.read_step_or_error(key, value) for key, value in zip(ours, values, strict=True)}
        return [found.get(key) for key in keys]

    def find(self, key: BusinessKey) -> str | None:
        with translated():
            process_id = self._client.hget(self._keys.live(f"{key.shard:x}"), codec.dump_business_key(key))
        return None if process_id is None else str(process_id.decode())

    def list_processes(
        self, only: ProcessFilter = EVERYTHING, *, limit: int = 50, after: Position | None = None
    ) -> list[ProcessSummary]:
        return self._lists.processes(only, limit=limit, after=after)

    def history(self, process_id: str) -> list[Event]:
        with translated(process_id):
            entries = self._client.lrange(self._keys.log(process_id), 0, -1)
        return [codec.load_event(entry) for entry in entries]

    def delete(self, process_id: str, *, finished_since_ms: int | None = None) -> bool:
        if not is_process_id(process_id):
            return False
        with translated(process_id):
            names = [field[2:] for field in self._client.hkeys(self._keys.process(process_id)) if field[:2] == b"s:"]
        keys = [StepKey(process_id, name.decode()) for name in names]
        deadlines = [step_member(key) for key in keys]
        steps = [step for step in self.load_steps(keys) if isinstance(step, ProcessStep)]
        leases = [lease_member(LeaseKey(process_id, step.name, step.attempt)) for step in steps if step.is_leased]
        since = "" if finished_since_ms is None else finished_since_ms
        with translated(process_id):
            reply = self._delete(
                keys=self._keys.all_of(process_id), args=[process_id, since, len(deadlines), *deadlines, *leases]
            )
        return bool(reply)

    # Finished processes

    def finished(
        self, *, is_archived: bool, until_ms: int | None = None, limit: int, after: Finished | None = None
    ) -> list[Finished]:
        return self._lists.finished(is_archived=is_archived, until_ms=until_ms, limit=limit, after=after)

    def count_finished(self, *, is_archived: bool) -> int:
        return self._lists.count_finished(is_archived=is_archived)

    def mark_archived(self, finished: Sequence[Finished]) -> None:
        for since_ms, process_id in finished:
            shard = shard_of(process_id)
            with translated(process_id):
                self._move(
                    keys=[self._keys.waiting(shard), self._keys.archived(shard)], args=[process_id, since_ms, since_ms]
                )

    # Steps

    def commit(self, changes: Sequence[Change]) -> list[Committed | Conflict | Exception]:
        called_at_s = time.monotonic()
        if len(changes) == 1:
            replies = [self._commit.reply(**self._call(changes[0]))]
        else:
            with translated():
                replies = self._commit.call_each(lambda: map(self._call, changes))
        return [self._outcome(change, reply, called_at_s) for change, reply in zip(changes, replies, strict=True)]

    def _call(self, change: Change) -> dict[str, list[Any]]:
        return {"keys": self._keys.all_of(change.process_id), "args": writes.dump(change)}

    def _outcome(self, change: Change, reply: Any, called_at_s: float) -> Committed | Conflict | Exception:
        if isinstance(reply, Exception):
            return as_ours(reply, change.process_id)
        status, now_ms, *rest = reply
        self._clock.correct(now_ms, called_at_s=called_at_s)
        if status == 1:
            version, class_before, class_after = rest
            after = change.transition.after.stored_as(int(version))
            return Committed(after, _STATES[class_before], _STATES[class_after])
        try:
            return Conflict(records.read_step(change.key, rest[0]) if status == 0 else None)
        except errors.CorruptRecord as error:
            return error

    def load_messages(self, keys: Sequence[StepKey]) -> list[bytes | None]:
        messages = self._line.round_trip(
            lambda pipe: [pipe.hget(self._keys.messages(key.process_id), key.step_name) for key in keys]
        )
        return list(all_good(messages))

    # The outbox

    def claim_unrelayed(self, *, limit: int, until_ms: int) -> list[Unrelayed]:
        self._ask_time()  # what became due by the server's clock must not be early by ours
        return self._outbox.claim(now_ms=self.now_ms(), limit=limit, until_ms=until_ms)

    def mark_relayed(self, process_id: str, *, last_number: int) -> None:
        self._outbox.mark(process_id, last_number)

    def unrelayed(self) -> tuple[int, int | None]:
        return self._outbox.backlog()

    # Clocks

    def due(self, *, now_ms: int, limit: int, with_leases: bool = True) -> list[Due]:
        deadlines = [(self._keys.deadlines(shard), read_deadline) for shard in ALL_SHARDS]
        leases = [(self._keys.leases(shard), read_lease) for shard in ALL_SHARDS] if with_leases else []
        indexes = [index for index, _ in deadlines + leases]
        # Most often each shard has about its part of what is due. Where one has more, all that may be needed is read.
        for most in (min(limit, 2 * limit // SHARDS + 10), limit):
            replies = self._line.round_trip(partial(_read_scores, indexes, now_ms=now_ms, count=most))
            kinds = replies[: len(deadlines)], replies[len(deadlines) :]
            if not any(_is_cut_short(kind, most, limit) for kind in kinds):
                break
        found = [
            self._read_index(index, read, entries)
            for (index, read), entries in zip(deadlines + leases, replies, strict=True)
        ]
        by_kind = found[: len(deadlines)], found[len(deadlines) :]
        return [due for kind in by_kind for due in islice(merge(*kind, key=_since), limit)]

    def _read_index(
        self, index: str, read: ReadMember, entries: Iterable[tuple[bytes, float]] | Exception
    ) -> Iterator[Due]:
        """Oldest first; no more are read than are asked for."""
        if isinstance(entries, errors.CorruptRecord):  # something else has this name: it must not stop the other shards
            logger.error("index_unusable", extra={"index": index, "error": str(entries)})
            return
        if isinstance(entries, Exception):
            raise entries
        for member, score in entries:
            try:
                yield read(member, whole(score))
            except ValueError:  # not one of ours: it would be in the way of every check
                logger.error("foreign_index_entry", extra={"index": index, "member": repr(member[:200])})
                with translated():
                    self._client.zrem(index, member)

    def discard(self, due: Sequence[Due], *, until_ms: int | None) -> None:
        with translated():
            for item in due:
                shard = shard_of(item.key.process_id)
                if item.lapsed_attempt is None:
                    index, member = self._keys.deadlines(shard), step_member(item.key)
                else:
                    index, member = self._keys.leases(shard), lease_member(LeaseKey(*item.key, item.lapsed_attempt))
                self._move(keys=[index, index], args=[member, item.since_ms, "" if until_ms is None else until_ms])

    def renew(self, leases: Sequence[LeaseKey], *, until_ms: int) -> LastCheck:
        self._correct_clock()

        def fill(pipe: Any) -> None:
            by_shard: dict[str, dict[str, int]] = {}
            for lease in leases:
                by_shard.setdefault(shard_of(lease.process_id), {})[lease_member(lease)] = until_ms
            for shard, members in by_shard.items():
                pipe.zadd(self._keys.leases(shard), members, xx=True)
            pipe.hgetall(self._keys.last_check)

        return records.read_last_check(list(all_good(self._line.round_trip(fill)))[-1])

    def stats(self) -> Stats:
        self._correct_clock()
        return self._census.take(now_ms=self.now_ms())

    def add_untracked(self, counts: Mapping[str, int]) -> None:
        self._census.add(tallies_of_untracked(counts))

    def last_check(self) -> LastCheck:
        return self.renew((), until_ms=0)

    def note_check(self, check: LastCheck) -> None:
        fields = {"at_ms": check.at_ms, "by": check.by, "leases_count_from_ms": check.leases_count_from_ms}
        with translated():
            self._client.hset(self._keys.last_check, mapping=fields)


def _script(name: str) -> str:
    return files("trellis_celery.stores.redis").joinpath("lua", name).read_text(encoding="utf-8")


def _read_scores(indexes: Sequence[str], pipe: Any, *, now_ms: int, count: int) -> None:
    for index in indexes:
        pipe.zrangebyscore(index, "-inf", now_ms, start=0, num=count, withscores=True)


def _is_cut_short(replies: Sequence[Any], most: int, limit: int) -> bool:
    """Whether they have less than `limit` entries, although an index has more than the `most` that were read."""
    lengths = [0 if isinstance(reply, Exception) else len(reply) for reply in replies]
    return sum(lengths) < limit and max(lengths, default=0) >= most


def _since(due: Due) -> int:
    return due.since_ms
