"""The message of a step's task, in as many items as it takes.

The items of one message carry its id: whoever reads several may meet those of two messages, and reads again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from trellis_celery import errors
from trellis_celery.domain.identity import is_process_id
from trellis_celery.ports import Change, StepKey
from trellis_celery.stores.dynamodb import keys
from trellis_celery.stores.dynamodb.calls import Calls
from trellis_celery.stores.dynamodb.values import Item, packed_item

#: Bytes of one part. An item may have 400 KB with its names and keys.
PART_SIZE = 350_000
#: All of them go into one transaction, which may have 4 MB.
MOST_PARTS = 10
_READINGS = 5


def parts_after(change: Change) -> int | None:
    """Of how many items the message consists after the change; None: as before. Raises StoreError if it is too long."""
    before, after = change.transition.before, change.transition.after
    if not after.needs_message:
        return 0 if before.needs_message else None
    return None if change.message is None else parts_of(change.key, change.message)


def parts_of(key: StepKey, message: bytes) -> int:
    """Of how many items the message consists. Raises StoreError if it is too long."""
    parts = max(1, -(-len(message) // PART_SIZE))
    if parts > MOST_PARTS:
        raise errors.StoreError(
            f"the message of step {key.step_name!r} of process {key.process_id} has {len(message)} bytes; "
            f"DynamoDB takes {MOST_PARTS * PART_SIZE} at the most: keep what it carries elsewhere and send a reference"
        )
    return parts


def writes_of(table: str, change: Change, *, parts: int | None, parts_before: int) -> list[dict[str, Any]]:
    """The parts of a transaction that store or drop the message. `parts_before`: there may be so many items now."""
    if parts is None:
        return []
    return replacement(
        table,
        [keys.message(*change.key, part) for part in range(max(parts, parts_before))],
        change.message or b"",
        parts=parts,
        message_id=uuid4().hex,
    )


def replacement(
    table: str, places: Sequence[keys.Key], message: bytes, *, parts: int, message_id: str
) -> list[dict[str, Any]]:
    """The parts of a transaction that put a message of so many items into the first places and empty the others."""
    puts: list[dict[str, Any]] = [
        {
            "Put": {
                "TableName": table,
                "Item": {
                    **place.packed,
                    **packed_item(
                        data=message[part * PART_SIZE : (part + 1) * PART_SIZE], parts=parts, message_id=message_id
                    ),
                },
            }
        }
        for part, place in enumerate(places[:parts])
    ]
    deletes: list[dict[str, Any]] = [{"Delete": {"TableName": table, "Key": place.packed}} for place in places[parts:]]
    return puts + deletes


def load_messages(calls: Calls, wanted: Sequence[StepKey]) -> list[bytes | None]:
    """In the order of the keys. Raises CorruptRecord."""
    firsts = {key: keys.message(*key) for key in wanted if is_process_id(key.process_id)}
    found = calls.get_many(firsts.values())
    return [
        None if key not in firsts or (item := found.get(firsts[key])) is None else _whole(calls, key, item)
        for key in wanted
    ]


def _whole(calls: Calls, key: StepKey, first: Item) -> bytes | None:
    try:
        if int(first["parts"]["N"]) == 1:
            return bytes(first["data"]["B"])
        for _ in range(_READINGS):
            head = calls.get(keys.message(*key))
            if head is None:
                return None
            rest = calls.get_many(keys.message(*key, part) for part in range(1, int(head["parts"]["N"])))
            items = [head, *(rest[place] for place in sorted(rest))]
            is_one = len(items) == int(head["parts"]["N"]) and len({item["message_id"]["S"] for item in items}) == 1
            if is_one:
                return b"".join(item["data"]["B"] for item in items)
    except (KeyError, TypeError, ValueError) as error:
        raise errors.CorruptRecord(key=f"message of {key.step_name}", problem=repr(error)) from None
    raise errors.CorruptRecord(key=f"message of {key.step_name}", problem="parts of it are missing")
