"""What DynamoDB tells of the table."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from trellis_celery.doctor.dynamodb import DynamoDBFacts
from trellis_celery.stores.dynamodb.tables import INDEXES
from trellis_celery.stores.dynamodb.translate import as_ours, code_of


def ping(thing: Any) -> None:
    """One round trip. Raises StoreError."""
    ask(thing)


def ask(thing: Any) -> DynamoDBFacts:
    """Raises StoreError if there is no answer."""
    calls = thing.calls
    try:
        described: dict[str, Any] = calls.client.describe_table(TableName=calls.table)["Table"]
    except ClientError as error:
        is_missing = code_of(error) == "ResourceNotFoundException"
        return DynamoDBFacts(table=calls.table, status=None, unknown_because="" if is_missing else str(error))
    except BotoCoreError as error:
        raise as_ours(error, table=calls.table) from error
    indexes = {
        one["IndexName"]: one.get("IndexStatus", "ACTIVE") for one in described.get("GlobalSecondaryIndexes", ())
    }
    return DynamoDBFacts(
        table=calls.table,
        status=described.get("TableStatus", "ACTIVE"),
        missing_indexes=tuple(name for name in INDEXES if name not in indexes),
        unready_indexes=tuple(name for name, status in indexes.items() if status not in ("ACTIVE", "UPDATING")),
    )
