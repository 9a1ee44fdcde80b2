"""The items of a tracker: its record, its message, and whether the process has its copy.

Whether the copy is due is an item of its own, so that one query finds what is not copied in a process of any size, and
copying is noted without a write to the tracker. It carries the tracker's version, and is never older than that.

The trap: several items are not read at one moment, so a reading may have met two versions. `read_tracker` tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from trellis_celery import errors
from trellis_celery.domain.identity import shard_of
from trellis_celery.domain.tracker import StepTracker
from trellis_celery.ports import StepKey
from trellis_celery.stores import codec
from trellis_celery.stores.dynamodb import keys
from trellis_celery.stores.dynamodb.keys import Key
from trellis_celery.stores.dynamodb.messages import parts_of, replacement
from trellis_celery.stores.dynamodb.steps import NO_DEADLINE, NO_LEASE
from trellis_celery.stores.dynamodb.values import Item, Value, assignments, expressions, packed_item, unpacked

#: What the partition keys start with, and the partitions of indexes.
PREFIX = "trackers#"
COPIES = "copies#"
UNCOPIED = "uncopied#"
LAST_CHECK = Key(f"{PREFIX}{keys.LAST_CHECK.pk}", keys.LAST_CHECK.sk)


class Torn(Exception):
    """Of the items some are of another version than others: read them again. Never leaves the repository."""


def partition(process_id: str) -> str:
    return f"{PREFIX}{process_id}"


def process_of(partition_key: str) -> str:
    return partition_key.removeprefix(PREFIX)


def step(key: StepKey) -> Key:
    return keys.step(partition(key.process_id), key.step_name)


def uncopied(key: StepKey) -> Key:
    place = step(key)
    return Key(place.pk, f"{UNCOPIED}{place.sk.removeprefix(keys.STEP)}")


def message(key: StepKey, part: int = 0) -> Key:
    return keys.message(partition(key.process_id), key.step_name, part)


def clock_partition(shard: str) -> str:
    return f"{PREFIX}{shard}"


def copies_partition(shard: str) -> str:
    return f"{COPIES}{shard}"


# Write


def writes_of(table: str, tracker: StepTracker, *, stored: Item | None, token: str) -> list[dict[str, Any]]:
    """The parts of a transaction that put the tracker in the place of the stored one: the first writes the record.

    Raises StoreError for a message that is too long.
    """
    record, key = tracker.step, StepKey(tracker.process_id, tracker.step_name)
    old = {} if stored is None else _unpacked(key, stored)
    message_id = None if tracker.message is None else blake2b(tracker.message, digest_size=16).hexdigest()
    parts = 0 if tracker.message is None else parts_of(key, tracker.message)
    values: dict[str, Value | None] = {
        "name": record.name,
        "version": record.version,
        "token": token,
        "record": codec.dump_step(record),
        "message_id": message_id,
        "message_parts": parts or None,
        **(NO_DEADLINE if tracker.deadline_ms is None else _deadline(tracker)),
        **_lease(tracker, old.get("lease_attempt")),
    }
    is_same = "attribute_not_exists(#pk)" if stored is None else "#version = :old_version"
    update = expressions(condition=is_same, update=assignments(values), old_version=old.get("version"), **values)
    writes = [{"Update": {"TableName": table, "Key": step(key).packed, **update}}, _copy(table, key, tracker)]
    if message_id == old.get("message_id"):
        return writes
    places = [message(key, part) for part in range(max(parts, old.get("message_parts", 0)))]
    return writes + replacement(table, places, tracker.message or b"", parts=parts, message_id=message_id or "")


def _deadline(tracker: StepTracker) -> dict[str, Value | None]:
    return {"due": clock_partition(shard_of(tracker.process_id)), "due_ms": tracker.deadline_ms}


def _lease(tracker: StepTracker, old_attempt: int | None) -> Mapping[str, Value | None]:
    if tracker.lease_until_ms is None:
        return NO_LEASE
    if old_attempt == tracker.step.attempt:
        return {}  # only `renew` moves it
    return {
        "lease": clock_partition(shard_of(tracker.process_id)),
        "lease_ms": tracker.lease_until_ms,
        "lease_attempt": tracker.step.attempt,
    }


def _copy(table: str, key: StepKey, tracker: StepTracker) -> dict[str, Any]:
    if tracker.copy_due_ms is None:
        return {"Delete": {"TableName": table, "Key": uncopied(key).packed}}
    content = packed_item(
        name=key.step_name,
        version=tracker.step.version,
        due=copies_partition(keys.list_shard(key.process_id)),
        due_ms=tracker.copy_due_ms,
    )
    return {"Put": {"TableName": table, "Item": {**uncopied(key).packed, **content}}}


# Read


def _unpacked(key: StepKey, item: Item) -> dict[str, Any]:
    try:
        return unpacked(item)
    except (TypeError, ValueError, AttributeError) as error:
        raise errors.CorruptRecord(key=f"{key.process_id}/{key.step_name}", problem=repr(error)) from None


def keys_of(key: StepKey) -> list[Key]:
    """The items of a tracker whose message is short."""
    return [step(key), uncopied(key), message(key)]


def more_keys_of(key: StepKey, found: Mapping[Key, Item]) -> list[Key]:
    """The rest of a long message."""
    parts = found.get(step(key), {}).get("message_parts", {}).get("N", "0")
    return [message(key, part) for part in range(1, int(parts))] if parts.isdecimal() else []


def read_tracker(key: StepKey, found: Mapping[Key, Item]) -> StepTracker | None:
    """The tracker, if it is there. Raises CorruptRecord, and Torn."""
    if (item := found.get(step(key))) is None:
        return None
    try:
        values = unpacked(item)
        if values["name"] != key.step_name:
            return None
        return StepTracker(
            key.process_id,
            codec.load_step(values["record"], name=key.step_name, version=values["version"] + 0),
            message=_message(key, values, found),
            lease_until_ms=values.get("lease_ms"),
            copy_due_ms=_copy_due_ms(values["version"], found.get(uncopied(key))),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise errors.CorruptRecord(key=f"{key.process_id}/{key.step_name}", problem=repr(error)) from None


def _message(key: StepKey, values: Mapping[str, Any], found: Mapping[Key, Item]) -> bytes | None:
    message_id = values.get("message_id")
    if message_id is None:
        return None
    parts = [found.get(message(key, part), {}) for part in range(values["message_parts"])]
    if any(part.get("message_id", {}).get("S") != message_id for part in parts):
        raise Torn
    return b"".join(part["data"]["B"] for part in parts)


def _copy_due_ms(version: int, item: Item | None) -> int | None:
    if item is None:
        return None
    values = unpacked(item)
    if values["version"] != version:
        raise Torn
    due_ms: int = values["due_ms"]
    return due_ms
