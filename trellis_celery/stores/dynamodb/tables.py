"""The table with its indexes: how it is made, and whether it is as this release needs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from trellis_celery import errors
from trellis_celery.stores.dynamodb.translate import SCHEMA, DriverError, as_ours, code_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

#: Index -> its partition key and its sort key. An index is named after its partition key.
_LIST = ("S", "position", "S")
INDEXES: Mapping[str, tuple[str, str, str]] = {
    "list_all": _LIST,
    "list_all_class": _LIST,
    "list_type": _LIST,
    "list_type_class": _LIST,
    "list_tenant": _LIST,
    "list_tenant_class": _LIST,
    "list_aggregate": _LIST,
    "finished": ("S", "finished_position", "S"),
    "due": ("S", "due_ms", "N"),
    "lease": ("S", "lease_ms", "N"),
}
#: What the indexes of clocks tell beside keys, so that no second read is needed.
_PROJECTED = {"due": ["name"], "lease": ["name", "lease_attempt"]}


def describe(table: str) -> dict[str, Any]:
    """The parameters of CreateTable: for JSON, CloudFormation or Terraform."""
    return {
        "TableName": table,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": _definitions(*INDEXES, pk="S", sk="S"),
        "KeySchema": _key_schema("pk", "sk"),
        "GlobalSecondaryIndexes": [_index(name) for name in INDEXES],
    }


def create_tables(
    client: DynamoDBClient,
    table: str,
    *,
    progress: Callable[[str], None] = lambda _: None,
    within_s: float = 600.0,
    every_s: float = 1.0,
) -> None:
    """Make the table, or the indexes that it lacks, and wait until all is in use. What is there stays as it is.

    Raises StoreUnavailable if that takes longer than `within_s`, StoreError if DynamoDB refuses.
    """
    end_s = time.monotonic() + within_s
    try:
        if _described(client, table) is None:
            progress(f"creating table {table}")
            _create(client, table)
        _wait(client, table, end_s=end_s, every_s=every_s)
        for name in _missing(_described(client, table) or {}):  # DynamoDB makes one at a time
            progress(f"creating index {name} of table {table}")
            client.update_table(
                TableName=table,
                AttributeDefinitions=_definitions(name),  # type: ignore[arg-type]
                GlobalSecondaryIndexUpdates=[{"Create": _index(name)}],  # type: ignore[typeddict-item]
            )
            _wait(client, table, end_s=end_s, every_s=every_s)
    except DriverError as error:
        raise as_ours(error, table=table) from error
    progress(f"table {table} is ready")


def require_current(client: DynamoDBClient, table: str) -> None:
    """Raises SchemaOutdated if the table or one of its indexes is missing, and botocore's errors."""
    try:
        described = _described(client, table)
    except ClientError as error:
        if code_of(error) == "AccessDeniedException":  # whoever may only read and write items is not stopped
            return
        raise
    if described is None:
        raise errors.SchemaOutdated(found=None, needed=SCHEMA)
    if missing := _missing(described):
        raise errors.SchemaOutdated(found=f"without the indexes {', '.join(missing)}", needed=SCHEMA)


def _create(client: DynamoDBClient, table: str) -> None:
    try:
        client.create_table(**describe(table))
    except ClientError as error:
        if code_of(error) != "ResourceInUseException":  # somebody else was faster
            raise


def _described(client: DynamoDBClient, table: str) -> dict[str, Any] | None:
    try:
        return dict(client.describe_table(TableName=table)["Table"])
    except ClientError as error:
        if code_of(error) == "ResourceNotFoundException":
            return None
        raise


def _missing(described: Mapping[str, Any]) -> list[str]:
    there = {index["IndexName"] for index in described.get("GlobalSecondaryIndexes", ())}
    return [name for name in INDEXES if name not in there]


def _wait(client: DynamoDBClient, table: str, *, end_s: float, every_s: float) -> None:
    while True:
        described = _described(client, table) or {}
        parts = [described.get("TableStatus")]
        parts += [index.get("IndexStatus", "ACTIVE") for index in described.get("GlobalSecondaryIndexes", ())]
        if all(status == "ACTIVE" for status in parts):
            return
        if time.monotonic() + every_s > end_s:
            raise errors.StoreUnavailable(f"table {table} is still being made: look at it again later")
        time.sleep(every_s)


def _definitions(*indexes: str, **types: str) -> list[dict[str, str]]:
    """Of the keys of these indexes: DynamoDB refuses a definition that nothing uses."""
    for name in indexes:
        kind, sort_key, sort_kind = INDEXES[name]
        types |= {name: kind, sort_key: sort_kind}
    return [{"AttributeName": name, "AttributeType": kind} for name, kind in types.items()]


def _index(name: str) -> dict[str, Any]:
    _, sort_key, _ = INDEXES[name]
    names = _PROJECTED.get(name)
    projection: dict[str, Any] = (
        {"ProjectionType": "KEYS_ONLY"} if names is None else {"ProjectionType": "INCLUDE", "NonKeyAttributes": names}
    )
    return {"IndexName": name, "KeySchema": _key_schema(name, sort_key), "Projection": projection}


def _key_schema(partition_key: str, sort_key: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition_key, "KeyType": "HASH"},
        {"AttributeName": sort_key, "KeyType": "RANGE"},
    ]
