"""The store contract over DynamoDB's interface, with a table of its own for each test."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from trellis_celery.stores.dynamodb import DynamoDBStore
from trellis_celery.stores.dynamodb.connect import connect
from trellis_celery.testing import StoreContract

TIMEOUT_MS = 20_000


def _open(url: str, environment: dict[str, str]) -> DynamoDBStore:
    """In a program that may have been started before the server, and so without its credentials."""
    os.environ.update(environment)
    client, table = connect(url, timeout_ms=TIMEOUT_MS)
    return DynamoDBStore(client, table=table, timeout_ms=TIMEOUT_MS)


class TestDynamoDB(StoreContract):
    tells_types = False

    # moto is slow: a request takes it some milliseconds, and it answers one at a time.
    crashes = 3
    many_completions = 200
    many_processes = 150
    page_size = 50
    many_late_steps = 200

    @pytest.fixture
    def store(self, dynamodb_client: Any, dynamodb_table: str) -> DynamoDBStore:
        return DynamoDBStore(dynamodb_client, table=dynamodb_table, timeout_ms=TIMEOUT_MS)

    @pytest.fixture
    def open_again(self, dynamodb_endpoint: str, dynamodb_table: str) -> Callable[[], DynamoDBStore]:
        url = f"dynamodb:///{dynamodb_table}?endpoint={dynamodb_endpoint}"
        return partial(_open, url, {name: value for name, value in os.environ.items() if name.startswith("AWS_")})
