"""The two repositories in DynamoDB, each of which may be beside one of another kind.

They have the table of `DynamoDBStore`, with keys and partitions of indexes of their own: store and repositories may
have one table, or one each, and do not see each other's processes.
"""

from trellis_celery.stores.dynamodb.repositories.processes import DynamoDBProcessRepository
from trellis_celery.stores.dynamodb.repositories.trackers import DynamoDBStepTrackerRepository

__all__ = ["DynamoDBProcessRepository", "DynamoDBStepTrackerRepository"]
