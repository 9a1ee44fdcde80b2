"""Every list is read by an index that has its order, however many processes there are.

``TRELLIS_TEST_ROWS=1000000`` fills each database with so many, which takes minutes.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, text
from sqlalchemy.sql import Executable

from tests.support.databases import emptied
from trellis_celery.domain.process import ProcessState
from trellis_celery.domain.queries import Position, ProcessFilter
from trellis_celery.stores import classes
from trellis_celery.stores.digests import digest_number
from trellis_celery.stores.sqlalchemy import listing, schema
from trellis_celery.stores.sqlalchemy.archive_models import ArchivedProcessRow
from trellis_celery.stores.sqlalchemy.connect import engine_for

ROWS = int(os.environ.get("TRELLIS_TEST_ROWS", "50000"))
BATCH = 10_000
LIMIT = 50
#: Rows that may be looked at for a page: a page of each class, and what was read in vain between them.
MOST_ROWS_READ = 4 * LIMIT * len(classes.CLASSES)

TENANTS, TYPES = 200, 20
STATES = (ProcessState.COMPLETED,) * 97 + (ProcessState.FAILED,) * 2 + (ProcessState.CANCELLED,)

#: One of each index, and of what narrows it.
FILTERS = {
    "everything": ProcessFilter(),
    "by state": ProcessFilter(state=ProcessState.FAILED),
    "by type": ProcessFilter(process_type="Type 7"),
    "by type and state": ProcessFilter(process_type="Type 7", state=ProcessState.COMPLETED),
    "by tenant": ProcessFilter(tenant_id="tenant 77"),
    "by tenant and state": ProcessFilter(tenant_id="tenant 77", state=ProcessState.COMPLETED),
    "by tenant and type": ProcessFilter(tenant_id="tenant 77", process_type="Type 7"),
    "by aggregate": ProcessFilter(aggregate_id="order 4711"),
    "by time": ProcessFilter(started_from_ms=14_000, started_before_ms=16_000),
    "by tenant and time": ProcessFilter(tenant_id="tenant 77", started_before_ms=20_000),
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    directory: Path = tmp_path_factory.mktemp("indexes")
    name = request.param
    url = f"sqlite:///{directory}/archive.db" if name == "sqlite" else request.getfixturevalue(f"{name}_url")
    engine = engine_for(url, timeout_ms=300_000)
    schema.migrate(engine)
    emptied(engine)
    _fill(engine, ROWS)
    yield engine
    emptied(engine)
    engine.dispose()


def _fill(engine: Engine, rows: int) -> None:
    some = random.Random(4711)
    with engine.begin() as connection:
        for start in range(0, rows, BATCH):
            connection.execute(
                insert(ArchivedProcessRow), [_row(number, some) for number in range(start, start + BATCH)]
            )
        connection.execute(text("ANALYZE TABLE trellis_history" if engine.name in ("mysql", "mariadb") else "ANALYZE"))


def _row(number: int, some: random.Random) -> dict[str, Any]:
    tenant_id, process_type = f"tenant {some.randrange(TENANTS)}", f"Type {some.randrange(TYPES)}"
    aggregate_id, state = f"order {number}", some.choice(STATES)
    return {
        "id": f"{some.randrange(16):x}-{number:032x}",
        "tenant_id": tenant_id,
        "process_type": process_type,
        "aggregate_type": "Order",
        "aggregate_id": aggregate_id,
        "tenant_digest": digest_number(tenant_id),
        "type_digest": digest_number(process_type),
        "aggregate_digest": digest_number(aggregate_id),
        "class_number": classes.CLASSES.index(classes.ProcessClass(state, False, False)),
        "counts": "[0, 0, 1, 0, 0, 0]",
        "started_at_ms": number,
        "details": b"{}",
        "state": state.value,
        "is_overdue": 0,
        "finished_at_ms": number + 1_000,
    }


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", ["first page", "later page"])
@pytest.mark.parametrize("name", FILTERS)
def test_a_page_is_read_by_an_index(archive: Engine, name: str, page: str) -> None:
    after = None if page == "first page" else Position(15_000, "8-" + "0" * 32)

    statement = listing.statement(ArchivedProcessRow, FILTERS[name], limit=LIMIT, after=after)

    _READ_BY_INDEX[archive.name](archive, statement)


# Plans


def _of_postgresql(engine: Engine, statement: Executable) -> None:
    (plan,) = _explained(engine, statement, "EXPLAIN (ANALYZE, FORMAT JSON)")[0][0]
    nodes = list(_nodes(plan["Plan"]))
    reads = [node for node in nodes if node.get("Relation Name") == "trellis_history"]
    assert reads
    assert not [node for node in nodes if node["Node Type"] == "Seq Scan"]
    read = sum(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in reads)
    assert read <= MOST_ROWS_READ


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for part in node.get("Plans", ()):
        yield from _nodes(part)


def _of_sqlite(engine: Engine, statement: Executable) -> None:
    steps = [row.detail for row in _explained(engine, statement, "EXPLAIN QUERY PLAN")]
    reads = [step for step in steps if "trellis_history" in step]
    assert reads
    assert all(step.startswith("SEARCH") and " INDEX trellis_history_by_" in step for step in reads)


def _of_mariadb(engine: Engine, statement: Executable) -> None:
    rows = _explained(engine, statement, "EXPLAIN")
    reads = [row for row in rows if row.table == "trellis_history"]
    assert reads
    assert all(row.key.startswith("trellis_history_by_") for row in reads)
    assert not [row for row in reads if "filesort" in (row.Extra or "")]


_READ_BY_INDEX: dict[str, Callable[[Engine, Executable], None]] = {
    "postgresql": _of_postgresql,
    "sqlite": _of_sqlite,
    "mariadb": _of_mariadb,
    "mysql": _of_mariadb,
}


def _explained(engine: Engine, statement: Executable, explain: str) -> list[Any]:
    compiled = statement.compile(engine, compile_kwargs={"render_postcompile": True})  # type: ignore[attr-defined]
    parameters = {
        name: process(value) if (process := compiled._bind_processors.get(name)) else value
        for name, value in compiled.params.items()
    }
    if compiled.positional:
        parameters = tuple(parameters[name] for name in compiled.positiontup)
    with engine.connect() as connection:
        return list(connection.exec_driver_sql(f"{explain} {compiled}", parameters))
