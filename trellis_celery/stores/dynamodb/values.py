"""Between Python's values and DynamoDB's, and the parameters of conditional writes.

The client of boto3 takes values with their types: a number is text, so none ever becomes a float or a Decimal.
In expressions every attribute stands as ``#name``, because hundreds of plain words are reserved.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

#: What one attribute can be.
Value = int | str | bytes | Sequence[str] | Sequence[bytes]
Item = Mapping[str, Any]


def packed(value: Value) -> dict[str, Any]:
    """One value as the client takes it."""
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, bytes):
        return {"B": value}
    if isinstance(value, int):
        return {"N": str(value)}
    return {"L": [packed(one) for one in value]}


def packed_item(**attributes: Value | None) -> dict[str, Any]:
    """An item without the attributes that are None."""
    return {name: packed(value) for name, value in attributes.items() if value is not None}


def unpacked(item: Mapping[str, Any]) -> dict[str, Any]:
    """The item's plain values. Raises ValueError for a number that is not whole or a type that is not ours."""
    return {name: _plain(value) for name, value in item.items()}


def _plain(value: Mapping[str, Any]) -> Any:
    ((kind, plain),) = value.items()
    if kind == "N":
        return int(plain)
    if kind == "L":
        return [_plain(one) for one in plain]
    if kind in ("S", "B"):
        return plain
    raise ValueError(f"an attribute is of type {kind}")


def assignments(values: Mapping[str, Value | None]) -> str:
    """An update that sets each attribute to the parameter of its name, and removes those that are None."""
    sets = ", ".join(f"#{name} = :{name}" for name, value in values.items() if value is not None)
    removes = ", ".join(f"#{name}" for name, value in values.items() if value is None)
    return " ".join(part for part in (sets and f"SET {sets}", removes and f"REMOVE {removes}") if part)


def expressions(*, condition: str = "", update: str = "", **values: Value | None) -> dict[str, Any]:
    """The parameters of a write with this condition and update; of `values` those count that are not None."""
    names = re.findall(r"#(\w+)", f"{condition} {update}")
    parameters: dict[str, Any] = {"ExpressionAttributeNames": {f"#{name}": name for name in names}}
    if given := {f":{name}": packed(value) for name, value in values.items() if value is not None}:
        parameters["ExpressionAttributeValues"] = given
    if condition:
        parameters |= {"ConditionExpression": condition, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    if update:
        parameters["UpdateExpression"] = update
    return parameters


def query(condition: str, *, projection: str = "", **values: Value) -> dict[str, Any]:
    """The parameters of a query with this condition on the keys; without a projection: for whole items."""
    names = re.findall(r"#(\w+)", f"{condition} {projection}")
    return {
        "KeyConditionExpression": condition,
        "ExpressionAttributeNames": {f"#{name}": name for name in names},
        "ExpressionAttributeValues": {f":{name}": packed(value) for name, value in values.items()},
        **({"ProjectionExpression": projection} if projection else {}),
    }
