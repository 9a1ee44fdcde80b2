"""The definition of a process: its records as they were at the start, compressed, and its metadata.

A process may have ten thousand steps, and a transaction a hundred writes. So a step gets an item of its own with its
first commit only; until then its record is the one in the definition, which never changes. A long definition is cut
into parts that are written before the head: without a head nobody sees them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from trellis_celery import errors
from trellis_celery.domain.process import OWN_RECORD, Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.stores import codec
from trellis_celery.stores.dynamodb import keys
from trellis_celery.stores.dynamodb.values import Item, packed_item

#: Bytes of one part. An item may have 400 KB with its names and keys.
PART_SIZE = 350_000
#: So many parts still fit into the transaction that makes the process.
PARTS_IN_TRANSACTION = 6
MOST_PARTS = 40


class Definition(Struct, frozen=True):
    #: By name, in the order of declaration, the process's own record under the empty name.
    records: Mapping[str, str]
    metadata: Mapping[str, Any]

    @classmethod
    def of(cls, process: Process) -> Definition:
        """Raises DefinitionError if the metadata are not JSON values."""
        metadata = codec.load_json(codec.dump_json(dict(process.metadata)))  # what is remembered, callers cannot change
        records = (process.own, *process.steps.values())
        return cls({record.name: codec.dump_step(record).decode() for record in records}, metadata)

    def record(self, step_name: str) -> ProcessStep | None:
        """The record as the process started with it. Raises CorruptRecord."""
        if (record := self.records.get(step_name)) is None:
            return None
        return codec.load_step(record, name=step_name, version=1)


def dump_definition(process_id: str, definition: Definition) -> list[dict[str, Any]]:
    """The items. Raises StoreError if it is too long."""
    content = {"records": list(definition.records.items()), "metadata": definition.metadata}
    data = zlib.compress(codec.dump_json(content))
    if len(data) > MOST_PARTS * PART_SIZE:
        raise errors.StoreError(
            f"process {process_id} cannot be stored: steps and metadata take {len(data)} bytes compressed; "
            f"the most is {MOST_PARTS * PART_SIZE}"
        )
    return [
        {
            **keys.definition(process_id, part).packed,
            **packed_item(data=data[part * PART_SIZE : (part + 1) * PART_SIZE]),
        }
        for part in range(-(-len(data) // PART_SIZE))
    ]


def load_definition(process_id: str, items: Sequence[Item], *, parts: int) -> Definition:
    """Raises CorruptRecord."""
    try:
        if len(items) != parts:
            raise ValueError(f"of its definition {len(items)} parts of {parts} are there")
        content = codec.load_json(zlib.decompress(b"".join(item["data"]["B"] for item in items)))
        records = {str(name): str(record) for name, record in content["records"]}
        if OWN_RECORD not in records:
            raise ValueError("it has no record of its own")
        return Definition(records, dict(content["metadata"]))
    except (KeyError, TypeError, ValueError, AttributeError, zlib.error) as error:
        raise errors.CorruptRecord(key=process_id, problem=repr(error)) from None
