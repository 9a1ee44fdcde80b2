"""The item of a step: its record and version, and its places in the indexes of deadlines and leases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trellis_celery import errors
from trellis_celery.domain.identity import shard_of
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import Change, StepKey
from trellis_celery.stores import codec
from trellis_celery.stores.dynamodb import keys
from trellis_celery.stores.dynamodb.values import Item, Value, assignments, expressions, packed_item, unpacked

#: The attributes of a clock in its index, by the name of the index.
NO_DEADLINE: Mapping[str, None] = {"due": None, "due_ms": None}
NO_LEASE: Mapping[str, None] = {"lease": None, "lease_ms": None, "lease_attempt": None}


def first_item(process_id: str, record: ProcessStep, *, unborn_until_ms: int | None) -> dict[str, Any]:
    """The item of a step that has a deadline from the start.

    `unborn_until_ms`: it is written before its process, which has to be there by then.
    """
    return {
        **keys.step(process_id, record.name).packed,
        **packed_item(
            name=record.name,
            version=record.version,
            record=codec.dump_step(record),
            unborn_until_ms=unborn_until_ms,
            **_deadline(process_id, record),
        ),
    }


def write_of(table: str, change: Change, *, now_ms: int, message_parts: int | None, most_parts: int) -> dict[str, Any]:
    """The part of a transaction that writes the record if its version still holds.

    `message_parts`: of how many items the step's message consists from now on; None: as before. `most_parts`: if it
    consists of more by now, nothing is written, because those would be left behind.
    """
    before, after = change.transition.before, change.transition.after
    values: dict[str, Value | None] = {
        "name": after.name,
        "version": before.version + 1,
        "token": change.token,
        "record": codec.dump_step(after),
        "unborn_until_ms": None,
        **(NO_DEADLINE if after.deadline_ms is None else _deadline(change.process_id, after)),
        **_lease(change, now_ms),
    }
    conditions = ["#version = :old_version" if before.version != 1 else _IS_FIRST]
    if message_parts is not None:
        values["message_parts"] = message_parts or None
        conditions.append("(attribute_not_exists(#message_parts) OR #message_parts <= :most_parts)")
    return {
        "Update": {
            "TableName": table,
            "Key": keys.step(*change.key).packed,
            **expressions(
                condition=" AND ".join(conditions),
                update=assignments(values),
                old_version=before.version,
                most_parts=None if message_parts is None else most_parts,
                **values,
            ),
        }
    }


_IS_FIRST = "(attribute_not_exists(#pk) OR #version = :old_version)"


def read_step(key: StepKey, item: Item) -> ProcessStep | None:
    """None if the item is that of a step of another name. Raises CorruptRecord."""
    try:
        values = unpacked(item)
        if values["name"] != key.step_name:
            return None
        return codec.load_step(values["record"], name=key.step_name, version=values["version"] + 0)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise errors.CorruptRecord(key=f"{key.process_id}/{key.step_name}", problem=repr(error)) from None


def _deadline(process_id: str, record: ProcessStep) -> dict[str, Value | None]:
    return {"due": shard_of(process_id), "due_ms": record.deadline_ms}


def _lease(change: Change, now_ms: int) -> Mapping[str, Value | None]:
    before, after = change.transition.before, change.transition.after
    old = before.attempt if before.is_leased else None
    new = after.attempt if after.is_leased else None
    if old == new:
        return {}  # only its worker's renewals move a lease
    if new is None:
        return NO_LEASE
    return {"lease": shard_of(change.process_id), "lease_ms": now_ms + change.lease_ms, "lease_attempt": new}
