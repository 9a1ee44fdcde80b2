"""What the pages say of what stores count, list and relay, is what the stores do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from trellis_celery.domain.process import ProcessState
from trellis_celery.domain.queries import ProcessFilter
from trellis_celery.ports import Outbox, UntrackedCounter
from trellis_celery.repositories import RepositoryStore
from trellis_celery.stores import classes
from trellis_celery.stores.dynamodb import DynamoDBStore
from trellis_celery.stores.dynamodb.connect import connect
from trellis_celery.stores.dynamodb.tables import create_tables
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.stores.redis import RedisStore
from trellis_celery.stores.sqlalchemy import SQLAlchemyStore
from trellis_celery.testing.contract import builders

DOCS = Path(__file__).parents[2] / "docs"
STORES: dict[str, type] = {
    "Redis, Valkey": RedisStore,
    "PostgreSQL, MySQL, MariaDB, SQLite": SQLAlchemyStore,
    "DynamoDB": DynamoDBStore,
    "memory": MemoryStore,
    "a pair": RepositoryStore,
}


def _rows(page: str, first_column: str) -> list[list[str]]:
    """The rows of the first table whose heading begins with this."""
    table, *_ = re.findall(rf"^\| {re.escape(first_column)} \|.*\n\|[-:|]+\|\n((?:\|.*\n)+)", page, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_the_page_says_which_stores_relay_and_which_count() -> None:
    rows = _rows((DOCS / "howto/choosing-a-store.md").read_text(), "store | `trellis_events_exchange`")

    told = {store: (relays == "yes", counts == "yes") for store, relays, counts, _ in rows}
    assert told == {name: (issubclass(one, Outbox), issubclass(one, UntrackedCounter)) for name, one in STORES.items()}
    assert set(told.values()) == {(True, True), (False, False)}


def test_the_page_of_dynamodb_lists_the_classes() -> None:
    rows = _rows((DOCS / "reference/dynamodb.md").read_text(), "class")

    in_words = {True: "yes", False: "no"}
    assert rows == [
        [str(number), one.state.value, in_words[one.is_overdue], in_words[one.has_incident]]
        for number, one in enumerate(classes.CLASSES)
    ]


@pytest.fixture
def counted(dynamodb_endpoint: str) -> Iterator[tuple[DynamoDBStore, list[str]]]:
    """A store, and what it asks of DynamoDB."""
    client, table = connect(f"dynamodb:///pages-{uuid4().hex}?endpoint={dynamodb_endpoint}", timeout_ms=60_000)
    create_tables(client, table)
    asked: list[str] = []
    with closing(client):
        store = DynamoDBStore(client, table=table, timeout_ms=60_000)
        store.last_check()

        def note(model: Any, **_: Any) -> None:
            asked.append(model.name)

        client.meta.events.register("before-call.dynamodb", note)
        yield store, asked
        client.meta.events.unregister("before-call.dynamodb", note)
        client.delete_table(TableName=table)


def test_a_list_and_stats_ask_what_the_page_of_dynamodb_says(counted: tuple[DynamoDBStore, list[str]]) -> None:
    store, asked = counted
    rows = dict(_rows((DOCS / "reference/dynamodb.md").read_text(), "call | requests"))
    by_state = re.fullmatch(
        r"of those that are pending or in progress (\d+) queries, failed (\d+), completed or cancelled (\d+)",
        rows["the same, by state"],
    )
    assert by_state is not None
    unfinished, failed, ended = map(int, by_state.groups())

    def queries(only: ProcessFilter) -> int:
        asked.clear()
        store.list_processes(only)
        return asked.count("Query")

    assert rows["a page of a list"].startswith(f"{queries(ProcessFilter())} queries")
    assert {state: queries(ProcessFilter(state=state)) for state in ProcessState} == {
        ProcessState.PENDING: unfinished,
        ProcessState.IN_PROGRESS: unfinished,
        ProcessState.FAILED: failed,
        ProcessState.COMPLETED: ended,
        ProcessState.CANCELLED: ended,
    }
    assert rows["the same, overdue ones"] == f"{queries(ProcessFilter(is_overdue=True))} queries"
    assert rows["the same, those with an incident"] == f"{queries(ProcessFilter(has_incident=True))} queries"
    asked.clear()
    store.stats()
    assert rows["`stats`"].startswith(f"{len(asked)} queries")


def test_stats_of_dynamodb_leave_out_what_the_page_says(counted: tuple[DynamoDBStore, list[str]]) -> None:
    store, _ = counted
    builders.created(store)
    builders.apply(store, builders.created(store), builders.complete())

    stats = store.stats()

    assert [(group.process_type, group.state, count) for group, count in stats.processes.items()] == [
        ("", ProcessState.PENDING, 1)
    ]
    assert (stats.events, stats.lateness.count, stats.untracked) == ({}, 0, None)
