"""DynamoDB as a store."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from trellis_celery.doctor import words
from trellis_celery.doctor.finding import Checks, Finding, note, ok, problem


class DynamoDBFacts(Struct, frozen=True, kw_only=True):
    table: str
    #: "ACTIVE", "CREATING", …; None: there is none.
    status: str | None
    missing_indexes: tuple[str, ...] = ()
    #: Indexes that are still being filled, or taken away.
    unready_indexes: tuple[str, ...] = ()
    #: Why it could not be found out; empty: it could.
    unknown_because: str = ""


def table(facts: DynamoDBFacts) -> Iterator[Finding]:
    if facts.unknown_because:
        yield note(
            f"table {facts.table} could not be looked at: {facts.unknown_because}",
            why="A missing index would show only as an error of the call that needs it.",
            advice="Permit dynamodb:DescribeTable on the table.",
        )
    elif facts.status is None:
        yield problem(
            f"there is no table {facts.table}",
            why="Nothing can be stored.",
            advice="celery -A … trellis migrate, or make it from `trellis migrate --sql` with your own tools.",
        )
    elif facts.missing_indexes:
        yield problem(
            f"table {facts.table} is without the indexes {words.several(facts.missing_indexes)}",
            why="Late steps and lists of processes are found by them.",
            advice="celery -A … trellis migrate",
        )
    elif facts.status not in ("ACTIVE", "UPDATING") or facts.unready_indexes:
        unready = (
            f", indexes {words.several(facts.unready_indexes)} are not in use yet" if facts.unready_indexes else ""
        )
        yield problem(
            f"table {facts.table} is {facts.status}{unready}",
            why="Until it is ready, calls are refused.",
            advice="Wait, and look again.",
        )
    else:
        yield ok(f"table {facts.table} is there with all its indexes")


CHECKS: Checks[DynamoDBFacts] = {"dynamodb-table": table}
