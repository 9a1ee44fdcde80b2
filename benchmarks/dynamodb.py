"""What a table of DynamoDB takes by AWS's rules, and what a client asks of it: moto itself measures neither.

The sizes are those that AWS documents and bills, from the items as they are. What it adds for transactions it does not
say.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

#: Storage of each item of the table and of each entry of an index, beside what is in it.
OVERHEAD = 100


def table_bytes(client: Any, table: str) -> int:
    """The items of the table, and what of them is in its indexes."""
    indexes = client.describe_table(TableName=table)["Table"].get("GlobalSecondaryIndexes", ())
    return sum(stored_bytes(item, indexes) for item in _items(client, table))


def stored_bytes(item: Mapping[str, Any], indexes: Iterable[Mapping[str, Any]] = ()) -> int:
    """An item with its entries in the indexes: it is in those of which it has all keys."""
    entries = [item, *(_entry(item, index) for index in indexes if _is_in(item, index))]
    return sum(OVERHEAD + item_bytes(entry) for entry in entries)


def item_bytes(item: Mapping[str, Any]) -> int:
    """The names and values of the attributes. Raises ValueError for a type that no item of ours has."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Mapping[str, Any]) -> int:
    ((kind, plain),) = value.items()
    if kind == "S":
        return len(plain.encode())
    if kind == "B":
        return len(plain)
    if kind == "N":
        digits = str(int(plain)).lstrip("-").strip("0")
        return 1 + (len(digits) + 1) // 2
    if kind == "L":
        return 3 + sum(1 + _value_bytes(one) for one in plain)
    raise ValueError(f"an attribute is of type {kind}")


def _is_in(item: Mapping[str, Any], index: Mapping[str, Any]) -> bool:
    return all(key["AttributeName"] in item for key in index["KeySchema"])


def _entry(item: Mapping[str, Any], index: Mapping[str, Any]) -> dict[str, Any]:
    """What an index keeps: the table's keys, its own, and what is projected."""
    names = {"pk", "sk", *(key["AttributeName"] for key in index["KeySchema"])}
    names.update(index["Projection"].get("NonKeyAttributes", ()))
    return {name: value for name, value in item.items() if name in names}


def _items(client: Any, table: str) -> Iterator[Mapping[str, Any]]:
    for page in client.get_paginator("scan").paginate(TableName=table):
        yield from page["Items"]


class Asked(NamedTuple):
    requests: int
    items_read: int


class Requests:
    """Counts what a client asks from now on. Threads may share the client."""

    def __init__(self, client: Any) -> None:
        self._items_read: list[int] = []
        client.meta.events.register("after-call.dynamodb", self._count)

    def _count(self, *, parsed: Mapping[str, Any], **_: Any) -> None:
        self._items_read.append(len(parsed.get("Items", ())))

    def taken(self) -> Asked:
        """What was asked since the last time."""
        asked, self._items_read[:] = Asked(len(self._items_read), sum(self._items_read)), []
        return asked
