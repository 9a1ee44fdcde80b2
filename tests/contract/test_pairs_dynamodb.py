"""The repositories in DynamoDB, as a pair in one table."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from trellis_celery.repositories import ProcessRepository, RepositoryStore, StepTrackerRepository
from trellis_celery.stores.dynamodb import DynamoDBProcessRepository, DynamoDBStepTrackerRepository
from trellis_celery.stores.dynamodb.connect import connect
from trellis_celery.testing import RepositoryContract
from trellis_celery.testing.contract import pair_scenes as scenes
from trellis_celery.testing.contract.pair_scenes import Interruption

TIMEOUT_MS = 20_000


def _open(url: str, environment: dict[str, str]) -> RepositoryStore:
    """In a program that may have been started before the server, and so without its credentials."""
    os.environ.update(environment)
    client, table = connect(url, timeout_ms=TIMEOUT_MS)
    return RepositoryStore(
        DynamoDBProcessRepository(client, table=table, timeout_ms=TIMEOUT_MS),
        DynamoDBStepTrackerRepository(client, table=table, timeout_ms=TIMEOUT_MS),
    )


class TestDynamoDB(RepositoryContract):
    # moto is slow: it looks at every item of a table for each query of an index, and a check has forty of them.
    many_completions = 100
    many_changes = 20
    many_processes = 100
    page_size = 30
    many_late_steps = 100
    contested_steps = 20
    races = 5
    # The order of calls is the same over every pair. Here it is interrupted where the repositories have most to do.
    test_a_writer_so_slow_that_others_did_its_work_may_crash_too = None
    test_nothing_is_lost_or_counted_twice_whatever_comes_between_two_calls = None
    test_a_call_that_is_repeated_changes_nothing_more = None
    crashes = 3

    @pytest.mark.parametrize("interruption", [scenes.after], ids=["after"])
    @pytest.mark.parametrize(
        "name",
        ["create after a crash", "complete the last", "reopen when archived", "purge"],
    )
    def test_what_a_crash_leaves_undone_is_done_by_the_next_check(
        self, processes: ProcessRepository, trackers: StepTrackerRepository, name: str, interruption: Interruption
    ) -> None:
        super().test_what_a_crash_leaves_undone_is_done_by_the_next_check(processes, trackers, name, interruption)

    @pytest.fixture
    def place(self, dynamodb_client: Any, dynamodb_table: str) -> dict[str, Any]:
        return {"client": dynamodb_client, "table": dynamodb_table, "timeout_ms": TIMEOUT_MS}

    @pytest.fixture
    def processes(self, place: dict[str, Any]) -> ProcessRepository:
        return DynamoDBProcessRepository(**place)

    @pytest.fixture
    def trackers(self, place: dict[str, Any]) -> StepTrackerRepository:
        return DynamoDBStepTrackerRepository(**place)

    @pytest.fixture
    def open_again(self, dynamodb_endpoint: str, dynamodb_table: str) -> Callable[[], RepositoryStore]:
        url = f"dynamodb:///{dynamodb_table}?endpoint={dynamodb_endpoint}"
        return partial(_open, url, {name: value for name, value in os.environ.items() if name.startswith("AWS_")})
