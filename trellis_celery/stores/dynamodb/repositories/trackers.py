"""A tracker repository in DynamoDB, beside a process repository anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from trellis_celery import errors
from trellis_celery.domain.events import Event
from trellis_celery.domain.identity import is_process_id
from trellis_celery.domain.process import OWN_RECORD
from trellis_celery.domain.tracker import StepTracker
from trellis_celery.logs import EventLogger
from trellis_celery.ports import Clock, LastCheck, LeaseKey, StepKey
from trellis_celery.repositories import StepTrackerRepository
from trellis_celery.stores.dynamodb import keys
from trellis_celery.stores.dynamodb.calls import Calls, ConditionFailed
from trellis_celery.stores.dynamodb.checks import read_last_check, write_last_check
from trellis_celery.stores.dynamodb.connect import DEFAULT_TABLE
from trellis_celery.stores.dynamodb.keys import Key
from trellis_celery.stores.dynamodb.log import LogWriter, read_log
from trellis_celery.stores.dynamodb.repositories import tracker_items as items
from trellis_celery.stores.dynamodb.repositories.entries import Entries, Entry
from trellis_celery.stores.dynamodb.values import Item, assignments, expressions, query

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

logger = EventLogger(__name__)

#: Several items are read again so many times before they count as damaged.
READINGS = 10


class DynamoDBStepTrackerRepository(StepTrackerRepository):
    """Trackers in one table of DynamoDB: see `tables.create_tables`. Threads may share it, and forked processes.

    client
        From `connect`, or boto3's own. Its timeouts and its own tries must fit into `timeout_ms`.
    timeout_ms
        The most that one call to DynamoDB may take with its repetitions.
    clock
        The time it goes by; if left out this machine's, kept within the second that DynamoDB tells with each reply.

    What is due is found a moment after it was written, and read again as it is. `add` and `save` recognise their own
    repetition when the reply to one was lost.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        *,
        table: str = DEFAULT_TABLE,
        timeout_ms: int = 2_000,
        clock: Clock | None = None,
    ) -> None:
        self._calls = Calls(client, table=table, timeout_ms=timeout_ms)
        self._clock: Clock = self._calls if clock is None else clock
        self._log = LogWriter(table)
        self._entries = Entries(self._calls)

    @property
    def calls(self) -> Calls:
        """By which it reaches its table."""
        return self._calls

    def now_ms(self) -> int:
        return self._clock.now_ms()

    # Each tracker

    def add(self, tracker: StepTracker, events: Sequence[Event] = ()) -> None:
        self._write(tracker, events, stored=None)

    def save(self, tracker: StepTracker, events: Sequence[Event] = ()) -> None:
        # Whatever is read here but the lease's end stays as it is while the version does, and that is left alone.
        stored = self._calls.get(items.step(StepKey(tracker.process_id, tracker.step_name)))
        if stored is None or stored.get("version", {}).get("N") != str(tracker.step.version - 1):
            raise _stale(tracker)
        self._write(tracker, events, stored=stored)

    def _write(self, tracker: StepTracker, events: Sequence[Event], *, stored: Item | None) -> None:
        token, version, now_ms = uuid4().hex, tracker.step.version, self.now_ms()
        partition = items.partition(tracker.process_id)
        writes = items.writes_of(self._calls.table, tracker, stored=stored, token=token)
        writes += self._log.writes_of(partition, tracker.step_name, version, events, now_ms=now_ms)
        try:
            self._calls.transact(writes)
        except ConditionFailed as failed:
            if (failed.found[0] or {}).get("token") != {"S": token}:
                raise _stale(tracker) from None

    def get(self, process_id: str, step_name: str) -> StepTracker | None:
        (tracker,) = self._read([StepKey(process_id, step_name)])
        return _or_raise(tracker)

    # All of a process

    def all_of(self, process_id: str) -> list[StepTracker]:
        return self._named_below(process_id, keys.STEP)

    def uncopied_of(self, process_id: str) -> list[StepTracker]:
        return [each for each in self._named_below(process_id, items.UNCOPIED) if each.copy_due_ms is not None]

    def _named_below(self, process_id: str, prefix: str) -> list[StepTracker]:
        found = self._below(process_id, prefix, projection="#name")
        try:
            wanted = [StepKey(process_id, item["name"]["S"]) for item in found]
        except KeyError as error:
            raise errors.CorruptRecord(key=process_id, problem=f"a tracker lacks {error}") from None
        return [tracker for each in self._read(wanted) if (tracker := _or_raise(each)) is not None]

    def history(self, process_id: str) -> list[Event]:
        return read_log(self._below(process_id, keys.LOG, projection=""))

    def delete(self, process_id: str) -> None:
        own = StepKey(process_id, OWN_RECORD)
        last = [items.step(own), items.uncopied(own)]
        while found := [Key(items.partition(process_id), item["sk"]["S"]) for item in self._below(process_id)]:
            # As long as anything is left, there is a sign that work is left.
            signs = [key for key in found if key.sk.startswith(items.UNCOPIED) and key not in last]
            self._calls.delete_many(key for key in found if key not in signs and key not in last)
            self._calls.delete_many(signs)
            self._calls.transact([{"Delete": {"TableName": self._calls.table, "Key": key.packed}} for key in last])

    def _below(self, process_id: str, prefix: str = "", *, projection: str = "#sk") -> list[Item]:
        if not is_process_id(process_id):
            return []
        values = {"pk": items.partition(process_id), **({"prefix": prefix} if prefix else {})}
        condition = "#pk = :pk" + (" AND begins_with(#sk, :prefix)" if prefix else "")
        asked = query(condition, projection=projection, **values)
        return [item for page in self._calls.pages(**asked, ConsistentRead=True) for item in page["Items"]]

    # What is due

    def all_timed_out(self, *, now_ms: int, limit: int) -> list[StepTracker]:
        return self._late("due", lambda tracker: tracker.deadline_ms, now_ms=now_ms, limit=limit)

    def all_lapsed(self, *, now_ms: int, limit: int) -> list[StepTracker]:
        return self._late("lease", lambda tracker: tracker.lease_until_ms, now_ms=now_ms, limit=limit)

    def _late(
        self, index: str, clock_of: Callable[[StepTracker], int | None], *, now_ms: int, limit: int
    ) -> list[StepTracker]:
        partitions = [items.clock_partition(shard) for shard in keys.ALL_CLOCK_SHARDS]
        entries = islice(self._entries.until(index, partitions, now_ms=now_ms, page=limit), limit)
        wanted = [key for entry in entries if (key := self._key_of(index, entry)) is not None]
        late = [
            (due_ms, tracker)
            for tracker in self._readable(wanted)
            if (due_ms := clock_of(tracker)) is not None and due_ms <= now_ms
        ]
        return [tracker for _, tracker in sorted(late, key=lambda each: each[0])]

    def _key_of(self, index: str, entry: Entry) -> StepKey | None:
        """None if the entry is not of a tracker: then it goes, because it would be in the way."""
        process_id = items.process_of(entry.key.pk)
        if is_process_id(process_id):
            key = StepKey(process_id, entry.name)
            if entry.key in (items.step(key), items.uncopied(key)):
                return key
        self._entries.discard(index, entry)
        return None

    def all_uncopied(self, *, now_ms: int, limit: int) -> list[str]:
        partitions = [items.copies_partition(shard) for shard in keys.ALL_LIST_SHARDS]
        entries = self._entries.until("due", partitions, now_ms=now_ms, page=limit)
        wanted = (key for entry in entries if (key := self._key_of("due", entry)) is not None)
        return list(islice(_each_once(key.process_id for key in wanted), limit))

    def renew(self, leases: Sequence[LeaseKey], *, until_ms: int) -> None:
        ours = [lease for lease in leases if is_process_id(lease.process_id)]
        self._calls.parallel(partial(self._renew, until_ms=until_ms), ours)

    def _renew(self, lease: LeaseKey, *, until_ms: int) -> None:
        key = items.step(StepKey(lease.process_id, lease.step_name))
        update = assignments({"lease_ms": until_ms})
        self._if("update_item", key, "#lease_attempt = :attempt", update, attempt=lease.attempt, lease_ms=until_ms)

    def mark_copied(self, trackers: Sequence[StepTracker]) -> None:
        self._calls.parallel(self._mark_copied, trackers)

    def _mark_copied(self, tracker: StepTracker) -> None:
        key = items.uncopied(StepKey(tracker.process_id, tracker.step_name))
        self._if("delete_item", key, "#version = :version", version=tracker.step.version)

    def _if(self, operation: str, key: Key, condition: str, update: str = "", **values: Any) -> None:
        """Do it if the condition holds."""
        asked = expressions(condition=condition, update=update, **values)
        with suppress(ConditionFailed):
            self._calls.call(operation, TableName=self._calls.table, Key=key.packed, **asked)

    def last_check(self) -> LastCheck:
        return read_last_check(self._calls, items.LAST_CHECK)

    def note_check(self, check: LastCheck) -> None:
        write_last_check(self._calls, items.LAST_CHECK, check)

    # Reading

    def _readable(self, wanted: Sequence[StepKey]) -> Iterator[StepTracker]:
        """The trackers that are still there. A damaged one must not hide the others."""
        for key, tracker in zip(wanted, self._read(wanted), strict=True):
            if isinstance(tracker, Exception):
                logger.error("tracker_unusable", extra={"process_id": key.process_id}, exc_info=tracker)
            elif tracker is not None:
                yield tracker

    def _read(self, wanted: Sequence[StepKey]) -> list[StepTracker | errors.CorruptRecord | None]:
        done: dict[StepKey, StepTracker | errors.CorruptRecord | None] = {}
        left = [key for key in wanted if is_process_id(key.process_id)]
        for reading in range(READINGS):
            if reading:
                time.sleep(0.001 * reading)  # let the writer come to its end
            found = self._calls.get_many(chain.from_iterable(items.keys_of(key) for key in left))
            found |= self._calls.get_many(chain.from_iterable(items.more_keys_of(key, found) for key in left))
            for key in left:
                try:
                    done[key] = items.read_tracker(key, found)
                except items.Torn:
                    continue
                except errors.CorruptRecord as error:
                    done[key] = error
            left = [key for key in left if key not in done]
            if not left:
                break
        for key in left:
            problem = "its items are of different versions"
            done[key] = errors.CorruptRecord(key=f"{key.process_id}/{key.step_name}", problem=problem)
        return [done.get(key) for key in wanted]


def _each_once(process_ids: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for process_id in process_ids:
        if process_id not in seen:
            seen.add(process_id)
            yield process_id


def _or_raise(tracker: StepTracker | errors.CorruptRecord | None) -> StepTracker | None:
    if isinstance(tracker, errors.CorruptRecord):
        raise tracker
    return tracker


def _stale(tracker: StepTracker) -> errors.StaleWrite:
    return errors.StaleWrite(process_id=tracker.process_id, step=tracker.step_name, version=tracker.step.version)
