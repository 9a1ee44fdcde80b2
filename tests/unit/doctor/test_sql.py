"""What is said of a SQL database."""

from __future__ import annotations

from typing import Any

import pytest

from trellis_celery.doctor.finding import Finding, Level, judge
from trellis_celery.doctor.sql import CHECKS, SqlFacts


def said(**facts: Any) -> dict[str, Finding]:
    """What each check says."""
    given = {"dialect": "postgresql", "schema_found": "0003", "schema_needed": "0003", **facts}
    return {finding.check: finding for finding in judge(CHECKS, SqlFacts(**given))}


@pytest.mark.parametrize(
    ("found", "level", "advice"),
    [
        ("0003", Level.OK, ""),
        (None, Level.PROBLEM, "trellis migrate"),
        ("0002", Level.PROBLEM, "trellis migrate"),
        ("0004", Level.NOTE, "newer release"),
    ],
)
def test_tables_are_missing_old_current_or_new(found: str | None, level: Level, advice: str) -> None:
    finding = said(schema_found=found)["sql-schema"]

    assert finding.level is level
    assert advice in finding.advice


def test_before_the_tables_are_there_nothing_else_is_judged() -> None:
    assert set(said(schema_found=None, isolation="SERIALIZABLE", is_read_only=True)) == {"sql-schema"}


@pytest.mark.parametrize(
    ("dialect", "isolation", "level"),
    [
        ("postgresql", "READ COMMITTED", Level.OK),
        ("postgresql", "SERIALIZABLE", Level.NOTE),
        ("mysql", "READ COMMITTED", Level.OK),
        ("mariadb", "REPEATABLE READ", Level.WARNING),
    ],
)
def test_isolation_matters_most_where_locks_lie_between_rows(dialect: str, isolation: str, level: Level) -> None:
    assert said(dialect=dialect, isolation=isolation)["sql-isolation"].level is level


def test_a_table_without_transactions_is_a_problem_with_the_statement_that_helps() -> None:
    finding = said(dialect="mysql", engines={"trellis_steps": "MyISAM", "trellis_log": "InnoDB"})["sql-engine"]

    assert finding.level is Level.PROBLEM
    assert finding.advice == "ALTER TABLE trellis_steps ENGINE = InnoDB;"


def test_tables_of_innodb_are_fine() -> None:
    assert said(dialect="mariadb", engines={"trellis_steps": "InnoDB"})["sql-engine"].level is Level.OK


@pytest.mark.parametrize(("mode", "level"), [("wal", Level.OK), ("delete", Level.WARNING)])
def test_sqlite_should_keep_a_write_ahead_log(mode: str, level: Level) -> None:
    assert said(dialect="sqlite", journal_mode=mode)["sql-journal"].level is level


def test_a_database_in_memory_keeps_no_journal_and_is_told_of_elsewhere() -> None:
    assert "sql-journal" not in said(dialect="sqlite", journal_mode="memory")


@pytest.mark.parametrize(
    ("durability", "level"),
    [
        ({"fsync": "on", "synchronous_commit": "on"}, Level.OK),
        ({"fsync": "on", "synchronous_commit": "remote_apply"}, Level.OK),
        ({"fsync": "off", "synchronous_commit": "on"}, Level.WARNING),
        ({"innodb_flush_log_at_trx_commit": "1"}, Level.OK),
        ({"innodb_flush_log_at_trx_commit": "2"}, Level.WARNING),
        ({"synchronous": "2"}, Level.OK),
        ({"synchronous": "1"}, Level.WARNING),
    ],
)
def test_commits_that_are_not_on_disk_are_a_warning(durability: dict[str, str], level: Level) -> None:
    assert said(durability=durability)["sql-durability"].level is level


@pytest.mark.parametrize(
    ("facts", "level", "found"),
    [
        ({}, Level.OK, "may read and write"),
        ({"denied": ("INSERT on trellis_steps",)}, Level.PROBLEM, "INSERT on trellis_steps"),
        ({"is_read_only": True}, Level.PROBLEM, "read-only"),
    ],
)
def test_a_user_has_to_be_able_to_write(facts: dict[str, Any], level: Level, found: str) -> None:
    finding = said(**facts)["sql-rights"]

    assert finding.level is level
    assert found in finding.found
