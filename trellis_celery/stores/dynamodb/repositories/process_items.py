"""The head of a process that a repository keeps: what lists show, its version, and which groups hold its steps.

Lists read it as they read a head of the store; its keys and partitions have a prefix, so neither sees the other's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain.identity import BusinessKey
from trellis_celery.domain.process import OWN_RECORD, Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.stores import codec
from trellis_celery.stores.dynamodb import heads, keys
from trellis_celery.stores.dynamodb.heads import Head
from trellis_celery.stores.dynamodb.keys import Key
from trellis_celery.stores.dynamodb.repositories import groups as forms
from trellis_celery.stores.dynamodb.repositories.groups import Group, dump_manifest, load_manifest
from trellis_celery.stores.dynamodb.values import Item, packed_item, unpacked

#: What the partition keys start with, and the partitions of indexes.
PREFIX = "processes#"


def partition(process_id: str) -> str:
    return f"{PREFIX}{process_id}"


def process_of(partition_key: str) -> str:
    return partition_key.removeprefix(PREFIX)


def head(process_id: str) -> Key:
    return keys.head(partition(process_id))


def live(key: BusinessKey) -> Key:
    """The item that tells which process holds the business key."""
    place = keys.live(key)
    return Key(f"{PREFIX}{place.pk}", place.sk)


def leftovers(process_id: str) -> Key:
    """The item that tells that there may be items under the process's id that are nobody's."""
    return Key(partition(process_id), "sweep")


def clock_partition(shard: str) -> str:
    return f"{PREFIX}{shard}"


def clock(process_id: str, due_ms: int | None) -> dict[str, Any]:
    """The place in the index of deadlines."""
    shard = clock_partition(keys.list_shard(process_id))
    return {} if due_ms is None else {"due": shard, "due_ms": due_ms}


class StoredHead(Struct, frozen=True, kw_only=True):
    summary: Head
    version: int
    own: ProcessStep
    groups: tuple[Group, ...]

    @property
    def is_terminal(self) -> bool:
        return self.summary.state.is_terminal


def dump_head(process: Process, *, since_ms: int, groups: Sequence[Group], token: str) -> dict[str, Any]:
    """`since_ms`: when it was last written while it was terminal, epoch ms; 0: never."""
    summary = replace(Head.of(process, definition_parts=0), since_ms=since_ms)
    is_terminal = process.state.is_terminal
    shard = clock_partition(keys.list_shard(process.id))
    return {
        **summary.item(prefix=PREFIX),
        **packed_item(
            version=process.version,
            own=codec.dump_step(process.own),
            own_version=process.own.version,
            groups=dump_manifest(groups),
            token=token,
            finished=keys.finished_partition(shard, is_archived=False) if is_terminal else None,
            finished_position=keys.position(since_ms, process.id) if is_terminal else None,
            **clock(process.id, process.next_deadline_ms),
        ),
    }


def load_head(process_id: str, item: Item) -> StoredHead:
    """Raises CorruptRecord."""
    summary = heads.read_head(process_id, item)
    try:
        values = unpacked(item)
        return StoredHead(
            summary=summary,
            version=values["version"] + 0,
            own=codec.load_step(values["own"], name=OWN_RECORD, version=values["own_version"] + 0),
            groups=load_manifest(values["groups"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise errors.CorruptRecord(key=process_id, problem=repr(error)) from None


def keys_of_groups(process_id: str, item: Item) -> list[Key]:
    """The items of the groups that a head names. Raises CorruptRecord."""
    named = load_head(process_id, item).groups
    return [key for number, group in enumerate(named) for key in forms.keys_of(partition(process_id), number, group)]
