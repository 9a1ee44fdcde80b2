"""What is said of a table in DynamoDB."""

from __future__ import annotations

from typing import Any

import pytest

from trellis_celery.doctor.dynamodb import DynamoDBFacts, table
from trellis_celery.doctor.finding import Level


@pytest.mark.parametrize(
    ("facts", "level", "found"),
    [
        ({"status": "ACTIVE"}, Level.OK, "all its indexes"),
        ({"status": None}, Level.PROBLEM, "there is no table orders"),
        ({"status": "ACTIVE", "missing_indexes": ("due",)}, Level.PROBLEM, "without the indexes due"),
        ({"status": "CREATING"}, Level.PROBLEM, "CREATING"),
        ({"status": "UPDATING"}, Level.OK, "all its indexes"),
        ({"status": "UPDATING", "unready_indexes": ("due",)}, Level.PROBLEM, "due are not in use yet"),
        ({"status": None, "unknown_because": "AccessDenied"}, Level.NOTE, "AccessDenied"),
    ],
)
def test_a_table_has_to_be_there_with_its_indexes_and_in_use(facts: dict[str, Any], level: Level, found: str) -> None:
    (finding,) = table(DynamoDBFacts(table="orders", **facts))

    assert finding.level is level
    assert found in finding.found
