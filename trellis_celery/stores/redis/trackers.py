"""A tracker repository in Redis, beside a process repository anywhere.

The trackers of a process lie on one node of a cluster, and each change of one is one script. All keys are named apart
from those of `RedisStore`, so both may have one prefix.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.resources import files
from itertools import chain
from typing import Any
from uuid import uuid4

from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain.events import Event
from trellis_celery.domain.identity import is_process_id, shard_of
from trellis_celery.domain.tracker import StepTracker
from trellis_celery.logs import EventLogger
from trellis_celery.ports import Due, LastCheck, LeaseKey, StepKey
from trellis_celery.repositories import StepTrackerRepository
from trellis_celery.stores import codec
from trellis_celery.stores.redis.connect import Client
from trellis_celery.stores.redis.keys import ALL_SHARDS, lease_member, read_deadline, read_lease
from trellis_celery.stores.redis.records import read_last_check
from trellis_celery.stores.redis.steady import Steady
from trellis_celery.stores.redis.translate import as_ours, translated
from trellis_celery.stores.redis.wires import Wires
from trellis_celery.stores.server_clock import ServerClock

logger = EventLogger(__name__)

#: The idea of the time may be so old, seconds. Replies to writes tell the time as well.
CLOCK_AGE_S = 10.0


class TrackerKeys:
    def __init__(self, prefix: str) -> None:
        self._prefix = f"{prefix}:trackers"
        #: hash: when timed-out steps were last looked for.
        self.last_check = f"{self._prefix}:last_check"

    def deadlines(self, shard: str) -> str:
        """sorted set: step member -> deadline, epoch ms"""
        return f"{self._prefix}:{{{shard}}}:deadlines"

    def leases(self, shard: str) -> str:
        """sorted set: lease member -> end of the lease, epoch ms"""
        return f"{self._prefix}:{{{shard}}}:leases"

    def copies(self, shard: str) -> str:
        """sorted set: process -> when the first of its copies is due or was, epoch ms"""
        return f"{self._prefix}:{{{shard}}}:copies"

    def of(self, process_id: str) -> str:
        """hash: step -> "<version> <token> <attempt> <record>" """
        return self._of(process_id, "of")

    def log(self, process_id: str) -> str:
        """list: what happened, oldest first"""
        return self._of(process_id, "log")

    def messages(self, process_id: str) -> str:
        """hash: step -> the message of its task"""
        return self._of(process_id, "messages")

    def uncopied(self, process_id: str) -> str:
        """hash: step -> when its copy is due, epoch ms"""
        return self._of(process_id, "uncopied")

    def _of(self, process_id: str, what: str) -> str:
        return f"{self._prefix}:{{{shard_of(process_id)}}}:{what}:{process_id}"

    def all_for(self, process_id: str) -> list[str]:
        """As in the headers of the scripts."""
        shard = shard_of(process_id)
        return [
            self.of(process_id),
            self.deadlines(shard),
            self.leases(shard),
            self.log(process_id),
            self.messages(process_id),
            self.uncopied(process_id),
            self.copies(shard),
        ]


class RedisStepTrackerRepository(StepTrackerRepository):
    """Trackers in Redis ≥ 6.2 or Valkey: one server, Sentinel or Cluster.

    prefix
        What all keys start with. Two prefixes in one database know nothing of each other.

    A process of which a part of the copies was renewed may stay in `all_uncopied` by the time of the others.
    """

    def __init__(self, client: Client, *, prefix: str = "trellis") -> None:
        #: What all keys start with.
        self.prefix = prefix
        self._client: Any = client
        self._keys = TrackerKeys(prefix)
        self._clock = ServerClock()
        wires = Wires.like_those_of(client)
        self._write = Steady(client.register_script(_script("tracker.lua")), wires)
        self._mark_copied = Steady(client.register_script(_script("copied.lua")), wires)
        self._untrack = Steady(client.register_script(_script("untrack.lua")), wires)

    @property
    def client(self) -> Client:
        """By which it reaches the server."""
        client: Client = self._client
        return client

    def now_ms(self) -> int:
        if not self._clock.is_set or self._clock.age_s > CLOCK_AGE_S:
            called_at_s = time.monotonic()
            with translated():
                seconds, microseconds = self._client.time()
            self._clock.correct(seconds * 1000 + microseconds / 1000, called_at_s=called_at_s)
        return self._clock.now_ms()

    # Each tracker

    def add(self, tracker: StepTracker, events: Sequence[Event] = ()) -> None:
        self._put(tracker, events, expected_version="")

    def save(self, tracker: StepTracker, events: Sequence[Event] = ()) -> None:
        self._put(tracker, events, expected_version=tracker.step.version - 1)

    def _put(self, tracker: StepTracker, events: Sequence[Event], *, expected_version: int | str) -> None:
        process_id, step = tracker.process_id, tracker.step
        lease = "" if tracker.lease_until_ms is None else lease_member(LeaseKey(process_id, step.name, step.attempt))
        called_at_s = time.monotonic()
        with translated(process_id):
            is_written, now_ms = self._write(
                keys=self._keys.all_for(process_id),
                args=[
                    process_id,
                    step.name,
                    expected_version,
                    step.version,
                    uuid4().hex[:16],  # of this call: the client sends it again when the reply is lost
                    step.attempt,
                    codec.dump_step(step),
                    _text(step.deadline_ms),
                    lease,
                    _text(tracker.lease_until_ms),
                    "drop" if tracker.message is None else "store",
                    tracker.message or b"",
                    _text(tracker.copy_due_ms),
                    *(codec.dump_event(event) for event in events),
                ],
            )
        self._clock.correct(now_ms, called_at_s=called_at_s)
        if not is_written:
            raise errors.StaleWrite(process_id=process_id, step=step.name, version=step.version)

    def get(self, process_id: str, step_name: str) -> StepTracker | None:
        (tracker,) = self._read([StepKey(process_id, step_name)])
        return _or_raise(tracker)

    # All of a process

    def all_of(self, process_id: str) -> list[StepTracker]:
        return self._named_in(self._keys.of, process_id)

    def uncopied_of(self, process_id: str) -> list[StepTracker]:
        return self._named_in(self._keys.uncopied, process_id)

    def _named_in(self, hash_of: Callable[[str], str], process_id: str) -> list[StepTracker]:
        if not is_process_id(process_id):
            return []
        with translated(process_id):
            names = self._client.hkeys(hash_of(process_id))
        found = map(_or_raise, self._read([StepKey(process_id, name.decode()) for name in names]))
        return [tracker for tracker in found if tracker is not None]

    def history(self, process_id: str) -> list[Event]:
        if not is_process_id(process_id):
            return []
        with translated(process_id):
            entries = self._client.lrange(self._keys.log(process_id), 0, -1)
        return [codec.load_event(entry) for entry in entries]

    def delete(self, process_id: str) -> None:
        if is_process_id(process_id):
            with translated(process_id):
                self._untrack(keys=self._keys.all_for(process_id), args=[process_id])

    # What is due

    def all_timed_out(self, *, now_ms: int, limit: int) -> list[StepTracker]:
        due = self._due(self._keys.deadlines, read_deadline, now_ms, limit)
        late = [each for each in self._readable(due) if each.deadline_ms is not None and each.deadline_ms <= now_ms]
        return sorted(late, key=lambda each: each.deadline_ms or 0)

    def all_lapsed(self, *, now_ms: int, limit: int) -> list[StepTracker]:
        due = self._due(self._keys.leases, read_lease, now_ms, limit)
        late = [each for each in self._readable(due) if (each.lease_until_ms or now_ms + 1) <= now_ms]
        return sorted(late, key=lambda each: each.lease_until_ms or 0)

    def all_uncopied(self, *, now_ms: int, limit: int) -> list[str]:
        due = self._due(self._keys.copies, _read_process, now_ms, limit)
        return [item.key.process_id for item in due]

    def _due(
        self, index_of: Callable[[str], str], read: Callable[[bytes, int], Due], now_ms: int, limit: int
    ) -> list[Due]:
        """The oldest entries of the indexes of all shards. One that is not ours is removed: it would be in the way."""
        indexes = [index_of(shard) for shard in ALL_SHARDS]
        replies = self._round_trip(
            lambda pipe: [
                pipe.zrangebyscore(index, "-inf", now_ms, start=0, num=limit, withscores=True) for index in indexes
            ]
        )
        due: list[Due] = []
        for index, entries in zip(indexes, replies, strict=True):
            for member, score in entries:
                try:
                    due.append(read(member, int(score)))
                except (ValueError, OverflowError):
                    logger.error("foreign_index_entry", extra={"index": index, "member": repr(member[:200])})
                    with translated():
                        self._client.zrem(index, member)
        return sorted(due, key=lambda item: item.since_ms)[:limit]

    def renew(self, leases: Sequence[LeaseKey], *, until_ms: int) -> None:
        by_shard: dict[str, dict[str, int]] = {}
        for lease in leases:
            by_shard.setdefault(shard_of(lease.process_id), {})[lease_member(lease)] = until_ms
        self._round_trip(
            lambda pipe: [pipe.zadd(self._keys.leases(shard), members, xx=True) for shard, members in by_shard.items()]
        )

    def mark_copied(self, trackers: Sequence[StepTracker]) -> None:
        by_process: dict[str, list[StepTracker]] = {}
        for tracker in trackers:
            by_process.setdefault(tracker.process_id, []).append(tracker)
        for process_id, own in by_process.items():
            pairs = chain.from_iterable((tracker.step_name, tracker.step.version) for tracker in own)
            keys = [self._keys.of(process_id), self._keys.uncopied(process_id), self._keys.copies(shard_of(process_id))]
            with translated(process_id):
                self._mark_copied(keys=keys, args=[process_id, *pairs])

    def last_check(self) -> LastCheck:
        with translated():
            return read_last_check(self._client.hgetall(self._keys.last_check))

    def note_check(self, check: LastCheck) -> None:
        fields = {"at_ms": check.at_ms, "by": check.by, "leases_count_from_ms": check.leases_count_from_ms}
        with translated():
            self._client.hset(self._keys.last_check, mapping=fields)

    # Reading

    def _readable(self, due: Sequence[Due]) -> Iterator[StepTracker]:
        """The trackers that are still there. A damaged one must not hide the others."""
        for item, tracker in zip(due, self._read([item.key for item in due]), strict=True):
            if isinstance(tracker, Exception):
                logger.error("tracker_unusable", extra={"process_id": item.key.process_id}, exc_info=tracker)
            elif tracker is not None:
                yield tracker

    def _read(self, keys: Sequence[StepKey]) -> list[StepTracker | errors.CorruptRecord | None]:
        """What there is: in one round trip, and another for the leases."""
        ours = [key for key in keys if is_process_id(key.process_id)]

        def fill(pipe: Any) -> None:
            for process_id, step_name in ours:
                pipe.hget(self._keys.of(process_id), step_name)
                pipe.hget(self._keys.messages(process_id), step_name)
                pipe.hget(self._keys.uncopied(process_id), step_name)

        values = iter(self._round_trip(fill) if ours else ())
        found = {key: _read_tracker(key, *parts) for key, *parts in zip(ours, values, values, values, strict=True)}
        leased = [each for each in found.values() if isinstance(each, StepTracker) and each.step.is_leased]
        for tracker, until_ms in zip(leased, self._ends_of_leases(leased), strict=True):
            found[StepKey(tracker.process_id, tracker.step_name)] = _with_lease(tracker, until_ms)
        return [found.get(key) for key in keys]

    def _ends_of_leases(self, trackers: Sequence[StepTracker]) -> list[float | None]:
        if not trackers:
            return []
        members = [LeaseKey(each.process_id, each.step_name, each.step.attempt) for each in trackers]
        return self._round_trip(
            lambda pipe: [
                pipe.zscore(self._keys.leases(shard_of(key.process_id)), lease_member(key)) for key in members
            ]
        )

    def _round_trip(self, fill: Callable[[Any], object]) -> list[Any]:
        """The replies to all the commands that `fill` puts into a pipeline."""
        with translated(), self._client.pipeline(transaction=False) as pipe:
            fill(pipe)
            replies: Iterable[Any] = pipe.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, Exception):
                raise as_ours(reply)
        return list(replies)


def _script(name: str) -> str:
    return files("trellis_celery.stores.redis").joinpath("lua", name).read_text(encoding="utf-8")


def _text(time_ms: int | None) -> int | str:
    return "" if time_ms is None else time_ms


def _read_process(member: bytes, score: int) -> Due:
    """Raises ValueError if the member is not one of ours."""
    return read_deadline(member + b"|", score)


def _read_tracker(
    key: StepKey, value: bytes | None, message: bytes | None, copy_due_ms: bytes | None
) -> StepTracker | errors.CorruptRecord | None:
    if value is None:
        return None
    try:
        version, _, _, record = value.split(b" ", 3)
        step = codec.load_step(record, name=key.step_name, version=int(version))
        return StepTracker(
            key.process_id, step, message=message, copy_due_ms=None if copy_due_ms is None else int(copy_due_ms)
        )
    except ValueError as error:
        return errors.CorruptRecord(key=f"{key.process_id}/{key.step_name}", problem=repr(error))
    except errors.CorruptRecord as error:
        return error


def _with_lease(tracker: StepTracker, until_ms: float | None) -> StepTracker:
    return tracker if until_ms is None else replace(tracker, lease_until_ms=int(until_ms))


def _or_raise(tracker: StepTracker | errors.CorruptRecord | None) -> StepTracker | None:
    if isinstance(tracker, errors.CorruptRecord):
        raise tracker
    return tracker
