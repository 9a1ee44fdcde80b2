"""The contents of a process in groups: its metadata, then so many steps each.

A group never changes: whoever stores other contents stores another group beside it, and the head, which names the
groups that count, is written last or at the same time. So a save writes the groups that changed, whatever the size of
the process; what was read once need not be read again; and groups that no head names are nobody's.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from trellis_celery import errors
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.stores import codec
from trellis_celery.stores.dynamodb.definitions import MOST_PARTS, PART_SIZE
from trellis_celery.stores.dynamodb.keys import Key
from trellis_celery.stores.dynamodb.values import Item, packed_item

#: So many that the largest process fits into one transaction.
STEPS_PER_GROUP = 128
PREFIX = "records#"


class Group(NamedTuple):
    """One group as the head names it."""

    #: Tells it from every other that is or was in its place.
    label: str
    #: Of how many items it consists.
    parts: int
    #: Of its contents.
    digest: str


#: What is in a group: the metadata as JSON, or steps in the order of declaration.
Contents = bytes | tuple[ProcessStep, ...]


def contents_of(process: Process) -> list[Contents]:
    """Raises DefinitionError if the metadata are not JSON values."""
    steps = tuple(process.steps.values())
    cuts = range(0, len(steps), STEPS_PER_GROUP)
    return [codec.dump_json(dict(process.metadata)), *(steps[start : start + STEPS_PER_GROUP] for start in cuts)]


def keys_of(partition: str, number: int, group: Group) -> list[Key]:
    return [Key(partition, f"{PREFIX}{number:04}#{group.label}#{part:02}") for part in range(group.parts)]


def dump_contents(contents: Contents) -> bytes:
    if isinstance(contents, bytes):
        return contents
    return codec.dump_json([[step.name, step.version, codec.dump_step(step).decode()] for step in contents])


def load_contents(number: int, data: bytes) -> Contents:
    """Raises CorruptRecord, and TypeError or ValueError for what are no contents."""
    if number == 0:
        return data
    return tuple(
        codec.load_step(record, name=name, version=version + 0) for name, version, record in codec.load_json(data)
    )


def digest_of(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def dump_group(partition: str, number: int, data: bytes, *, label: str) -> tuple[Group, list[dict[str, Any]]]:
    """The group and its items. Raises StoreError if it is too long."""
    packed = zlib.compress(data)
    parts = -(-len(packed) // PART_SIZE)
    if parts > MOST_PARTS:
        what = "the metadata" if number == 0 else f"{STEPS_PER_GROUP} steps"
        raise errors.StoreError(
            f"{partition} cannot be stored: {what} take {len(packed)} bytes compressed; "
            f"the most is {MOST_PARTS * PART_SIZE}"
        )
    group = Group(label, parts, digest_of(data))
    items = [
        {**key.packed, **packed_item(data=packed[part * PART_SIZE : (part + 1) * PART_SIZE])}
        for part, key in enumerate(keys_of(partition, number, group))
    ]
    return group, items


def load_group(partition: str, number: int, group: Group, found: Mapping[Key, Item]) -> Contents | None:
    """The contents; None if not all of it is there. Raises CorruptRecord."""
    wanted = keys_of(partition, number, group)
    if any(key not in found for key in wanted):
        return None
    try:
        return load_contents(number, zlib.decompress(b"".join(found[key]["data"]["B"] for key in wanted)))
    except (KeyError, TypeError, ValueError, AttributeError, zlib.error) as error:
        raise errors.CorruptRecord(key=partition, problem=repr(error)) from None


def dump_manifest(groups: Sequence[Group]) -> bytes:
    return codec.dump_json(groups)


def load_manifest(data: bytes) -> tuple[Group, ...]:
    """Raises CorruptRecord, and TypeError or ValueError for what is no list of groups."""
    return tuple(Group(str(label), parts + 0, str(digest)) for label, parts, digest in codec.load_json(data))


def weight_of(contents: Contents) -> int:
    """How much memory it takes, in steps."""
    return len(contents) // 500 + 1 if isinstance(contents, bytes) else len(contents)
