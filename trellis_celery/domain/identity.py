"""Who is who: business keys, process ids, and which texts may be an id at all.

The shard is a part of the process id and follows from the business key, so that a process, its steps and the
uniqueness of its business key always live on one node of a cluster and can be written in one operation.
"""

from __future__ import annotations

import re
import zlib
from typing import TypeGuard
from uuid import uuid4

from msgspec import Struct

from trellis_celery import errors

#: Number of shards. A part of the stored format: it can never change for existing data.
SHARDS = 16
MAX_IDENTIFIER_LENGTH = 512

_UNSTORABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_PROCESS_ID = re.compile(r"[0-9a-f]-[0-9a-f]{32}")


class BusinessKey(Struct, frozen=True, kw_only=True):
    """What makes a process the only live one of its kind: tenant, type, and the aggregate it is about."""

    tenant_id: str
    process_type: str
    aggregate_type: str
    aggregate_id: str

    def __post_init__(self) -> None:
        for field in ("tenant_id", "process_type", "aggregate_type", "aggregate_id"):
            require_identifier(field, getattr(self, field))

    @property
    def parts(self) -> tuple[str, str, str, str]:
        return (self.tenant_id, self.process_type, self.aggregate_type, self.aggregate_id)

    @property
    def shard(self) -> int:
        """The shard of every process with this key: 0 … SHARDS - 1."""
        return zlib.crc32("\0".join(self.parts).encode()) % SHARDS


def require_identifier(field: str, value: object) -> str:
    """Return `value` if it can be stored everywhere as it is; raises InvalidIdentifier otherwise."""
    if not isinstance(value, str):
        raise errors.InvalidIdentifier(field=field, value=value, problem="is not a string")
    if not value:
        raise errors.InvalidIdentifier(field=field, value=value, problem="is empty")
    if len(value) > MAX_IDENTIFIER_LENGTH:
        raise errors.InvalidIdentifier(
            field=field, value=value, problem=f"is longer than {MAX_IDENTIFIER_LENGTH} characters"
        )
    if _UNSTORABLE.search(value):
        raise errors.InvalidIdentifier(
            field=field, value=value, problem="has control characters or broken Unicode, which no store can hold"
        )
    return value


def require_text(field: str, value: object) -> str:
    """Return `value` if it is a string, of any content and length; raises InvalidIdentifier otherwise."""
    if not isinstance(value, str):
        raise errors.InvalidIdentifier(field=field, value=value, problem="is not a string")
    return value


def new_process_id(key: BusinessKey) -> str:
    return f"{key.shard:x}-{uuid4().hex}"


def is_process_id(process_id: object) -> TypeGuard[str]:
    """Whether this has the form of a process id."""
    return isinstance(process_id, str) and _PROCESS_ID.fullmatch(process_id) is not None


def require_process_id(process_id: object) -> str:
    """Return `process_id` if it has the form of one; raises ProcessNotFound otherwise."""
    if not is_process_id(process_id):
        raise errors.ProcessNotFound(process_id=process_id)
    return process_id


def shard_of(process_id: str) -> str:
    return process_id[0]
