"""The SQL in the documentation runs on the databases that it is for, over what a real archive holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, make_url, text

from tests.support.databases import without_tables
from trellis_celery import Process, ProcessService, ProcessStep, TimeoutCheckerService
from trellis_celery.services.history import HistoryService
from trellis_celery.stores.sqlalchemy import SQLAlchemyArchive, SQLAlchemyStore, schema, totals
from trellis_celery.stores.sqlalchemy.connect import engine_for
from trellis_celery.testing import ManualClock

HOWTO = Path(__file__).parents[2] / "docs/howto"
ROLE = "shop_workers"


def _statements(page: str) -> list[str]:
    blocks = re.findall(r"^```sql\n(.*?)^```$", (HOWTO / page).read_text(), re.DOTALL | re.MULTILINE)
    return [statement for block in blocks for statement in block.split(";\n")]


def _archive_three_orders(engine: Engine) -> None:
    """Ann completes two. The step of the third is given up, and Bob sees to it."""
    clock = ManualClock()
    store = SQLAlchemyStore(engine, clock=clock)
    service = ProcessService(store)
    orders = [_started_order(service, f"order-{number}") for number in range(3)]
    for order in orders[:2]:
        service.complete_step(order, "charge_card", by="ann")
    service.start_step(orders[2], "charge_card")
    clock.advance(60_000)
    assert TimeoutCheckerService(store).check_for_timed_out_steps(by="the page").gave_up == 1
    clock.advance(1)
    service.close_incident(orders[2], "charge_card", by="bob", note="paid in cash")
    report = HistoryService(store, SQLAlchemyArchive(engine), retention_ms=1).archive_and_remove()
    assert report.archived == 3


def _started_order(service: ProcessService, aggregate_id: str) -> Process:
    return service.start_process(
        tenant_id="tenant-1",
        process_type="Checkout",
        aggregate_type="Order",
        aggregate_id=aggregate_id,
        steps=[ProcessStep("charge_card", timeout_ms=30_000)],
    )


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    name = request.param
    url = f"sqlite:///{tmp_path}/file.db" if name == "sqlite" else request.getfixturevalue(f"{name}_url")
    yield from _engine(url)


@pytest.fixture
def postgresql_engine(postgresql_url: str) -> Iterator[Engine]:
    yield from _engine(postgresql_url)


def _engine(url: str) -> Iterator[Engine]:
    """A database with empty tables; they are there afterwards, for other tests go on with it."""
    engine = engine_for(url, timeout_ms=20_000)
    without_tables(engine)
    schema.migrate(engine)
    yield engine
    without_tables(engine)
    schema.migrate(engine)
    engine.dispose()


def test_an_auditor_gets_answers_from_the_sql_of_the_page(engine: Engine) -> None:
    _archive_three_orders(engine)
    *questions, removal = _statements("history.md")

    with engine.connect() as connection:
        whole_log, how_they_ended, who_did_what, given_up = (
            [tuple(map(_plain, row)) for row in connection.execute(text(question))] for question in questions
        )

    (started, completed, ended) = [(kind, by_whom) for _, kind, *_, by_whom in whole_log]
    assert started == ("process_started", None)
    assert completed == ("step_completed", "ann")
    assert ended == ("process_completed", None)
    assert how_they_ended == [("Checkout", "completed", 2, 0), ("Checkout", "failed", 1, 60_001)]
    assert [(by_whom, kind, detail) for by_whom, _, kind, _, _, detail in who_did_what] == [
        ("ann", "step_completed", ""),
        ("ann", "step_completed", ""),
        ("bob", "incident_closed", "paid in cash"),
    ]
    assert [row[1:2] + row[3:] for row in given_up] == [("charge_card", "bob", "paid in cash")]
    assert removal.startswith("DELETE")


def test_removing_a_process_from_the_archive_removes_its_steps_and_log(engine: Engine) -> None:
    _archive_three_orders(engine)
    (removal,) = [one for one in _statements("history.md") if one.startswith("DELETE")]
    everything = removal.replace("1767225600000", str(2**62))

    with engine.begin() as connection:
        connection.execute(text(removal))
        kept = _rows(connection)
        connection.execute(text(everything))
        left = _rows(connection)

    in_log = 2 * 3 + 6  # of the third: started twice, timed out, gave up, its end, the incident closed
    assert (kept, left) == ([3, 6, in_log], [0, 0, 0])


def test_programs_need_no_more_rights_than_the_page_says(postgresql_engine: Engine) -> None:
    with postgresql_engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {ROLE} LOGIN"))
        for statement in _statements("migrations.md"):
            connection.execute(text(statement))
    url = make_url(postgresql_engine.url).set(username=ROLE)
    as_program = engine_for(url.render_as_string(hide_password=False), timeout_ms=20_000)

    try:
        _archive_three_orders(as_program)
        SQLAlchemyStore(as_program).note_check(SQLAlchemyStore(as_program).last_check())
        SQLAlchemyStore(as_program).transactions.run(totals.fold)
        _archive_three_orders(as_program)
    finally:
        as_program.dispose()
        with postgresql_engine.begin() as connection:
            connection.execute(text(f"DROP OWNED BY {ROLE}"))
            connection.execute(text(f"DROP ROLE {ROLE}"))


def test_the_page_of_migrations_tells_of_the_schema_there_is() -> None:
    page = (HOWTO / "migrations.md").read_text()

    assert re.findall(r"schema none → (\d+)", page) == [schema.HEAD]
    assert re.findall(r"^\| (\d{4}) \|", page, re.MULTILINE) == [f"{one:04}" for one in range(1, int(schema.HEAD) + 1)]


def _plain(value: object) -> object:
    return value.decode() if isinstance(value, bytes) else value


def _rows(connection: Connection) -> list[int]:
    tables = ("trellis_history", "trellis_history_steps", "trellis_history_log")
    return [connection.scalar(text(f"SELECT count(*) FROM {table}")) for table in tables]
