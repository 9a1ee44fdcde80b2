"""The keys of all items, and what stands in the indexes.

What users call things is never a key: they may be longer than a key can be. Digests stand for them, and the true name
is an attribute beside. A process's items have its id as partition key and are told apart by their sort key, in whose
order one query reads head, definition and steps and leaves log and messages alone.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, NamedTuple

from trellis_celery.domain.identity import SHARDS, BusinessKey, shard_of
from trellis_celery.domain.queries import Finished, Position
from trellis_celery.stores import codec
from trellis_celery.stores.digests import digest
from trellis_celery.stores.dynamodb.values import packed_item

#: Into so many parts each list is divided, so that no partition of an index takes all the writes.
LIST_SHARDS = 4
ALL_LIST_SHARDS = tuple(str(shard) for shard in range(LIST_SHARDS))
#: The parts of the indexes of clocks: every commit and every renewal may write there.
ALL_CLOCK_SHARDS = tuple(f"{shard:x}" for shard in range(SHARDS))

HEAD = "process"
LOG = "log#"
STEP = "step#"


class Key(NamedTuple):
    """Which item."""

    pk: str
    sk: str

    @property
    def packed(self) -> dict[str, Any]:
        return packed_item(pk=self.pk, sk=self.sk)


LAST_CHECK = Key("last_check", "last_check")


def head(process_id: str) -> Key:
    return Key(process_id, HEAD)


def definition(process_id: str, part: int) -> Key:
    return Key(process_id, f"{HEAD}#definition#{part:04}")


def step(process_id: str, step_name: str) -> Key:
    return Key(process_id, f"{STEP}{_name_digest(step_name)}")


def message(process_id: str, step_name: str, part: int = 0) -> Key:
    return Key(process_id, f"message#{_name_digest(step_name)}#{part:02}")


def log(process_id: str, step_name: str, version: int, *, at_ms: int, number: int) -> Key:
    """`number` tells what one program logged within a millisecond apart."""
    return Key(process_id, f"{LOG}{at_ms:016}#{number:012}#{_name_digest(step_name)}#{version}")


def live(key: BusinessKey) -> Key:
    return Key(f"live#{blake2b(codec.dump_business_key(key), digest_size=32).hexdigest()}", "live")


def list_shard(process_id: str) -> str:
    return str(int(shard_of(process_id), 16) * LIST_SHARDS // SHARDS)


def position(started_at_ms: int, process_id: str = "") -> str:
    """In the order of `Position`; without an id: before every process that was started then."""
    return f"{started_at_ms:016}#{process_id}" if process_id else f"{started_at_ms:016}"


def read_position(text: str) -> Position:
    started_at_ms, process_id = text.split("#", 1)
    return Position(int(started_at_ms), process_id)


def read_finished(text: str) -> Finished:
    since_ms, process_id = text.split("#", 1)
    return Finished(int(since_ms), process_id)


def finished_partition(shard: str, *, is_archived: bool) -> str:
    return f"{shard}#{'archived' if is_archived else 'waiting'}"


def list_partitions(process_id: str, key: BusinessKey, *, prefix: str = "") -> dict[str, str]:
    """Where a process stands in the lists that it never moves in. Lists of another prefix do not show it."""
    shard = f"{prefix}{list_shard(process_id)}"
    return {
        "list_all": shard,
        "list_type": f"{shard}#{digest(key.process_type).hex()}",
        "list_tenant": f"{shard}#{digest(key.tenant_id).hex()}",
        "list_aggregate": f"{prefix}{digest(key.aggregate_id).hex()}",
    }


def class_partitions(process_id: str, key: BusinessKey, class_number: int, *, prefix: str = "") -> dict[str, str]:
    """Where a process of this class stands in the lists by class."""
    partitions = list_partitions(process_id, key, prefix=prefix)
    return {f"{name}_class": f"{partitions[name]}#{class_number}" for name in ("list_all", "list_type", "list_tenant")}


def _name_digest(step_name: str) -> str:
    return blake2b(step_name.encode(), digest_size=16).hexdigest()
