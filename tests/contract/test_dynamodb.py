"""The store contract over DynamoDB's interface, with a table of its own for each test."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from trellis_celery.ports import StepKey
from trellis_celery.stores.dynamodb import DynamoDBStore
from trellis_celery.stores.dynamodb.connect import connect
from trellis_celery.stores.dynamodb.values import query
from trellis_celery.testing import StoreContract
from trellis_celery.testing.contract.builders import apply, complete, created

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

    def test_of_a_deletion_that_was_broken_off_nothing_is_seen(
        self, store: DynamoDBStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def die(process_id: str) -> None:
            raise KeyboardInterrupt

        process = created(store)
        apply(store, process, complete())
        monkeypatch.setattr(store._processes, "sweep", die)
        with pytest.raises(KeyboardInterrupt):
            store.delete(process.id)
        monkeypatch.undo()

        assert store.history(process.id) == []
        assert store.load_steps([StepKey(process.id, "step")]) == [None]

        assert not store.delete(process.id)
        assert store._processes._items(query("#pk = :pk", pk=process.id)) == []
