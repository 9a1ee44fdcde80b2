"""Processes in Amazon DynamoDB: one table, whose items docs/reference/dynamodb.md describes."""

from trellis_celery import errors

try:
    import boto3  # noqa: F401
except ImportError:
    raise errors.ConfigurationError("a store in DynamoDB needs boto3: pip install 'trellis-celery[dynamodb]'") from None

from trellis_celery.stores.dynamodb.repositories import DynamoDBProcessRepository, DynamoDBStepTrackerRepository
from trellis_celery.stores.dynamodb.store import DynamoDBStore

__all__ = ["DynamoDBProcessRepository", "DynamoDBStepTrackerRepository", "DynamoDBStore"]
