"""The SQL in the documentation runs on the databases that it is for, over what a real archive holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, make_url, text

from tests.support.databases import without_tables
from trellis_celery import ProcessService, ProcessStep
from trellis_celery.services.history import HistoryService
from trellis_celery.stores.sqlalchemy import SQLAlchemyArchive, SQLAlchemyStore, schema
from trellis_celery.stores.sqlalchemy.connect import engine_for

HOWTO = Path(__file__).parents[2] / "docs/howto"
ROLE = "shop_workers"


def _statements(page: str) -> list[str]:
    blocks = re.findall(r"^```sql\n(.*?)^```$", (HOWTO / page).read_text(), re.DOTALL | re.MULTILINE)
    return [statement for block in blocks for statement in block.split(";\n")]


def _archive_three_orders(engine: Engine) -> None:
    store = SQLAlchemyStore(engine)
    service = ProcessService(store)
    for number in range(3):
        process = service.start_process(
            tenant_id="tenant-1",
            process_type="Checkout",
            aggregate_type="Order",
            aggregate_id=f"order-{number}",
            steps=[ProcessStep("charge_card")],
        )
        service.complete_step(process, "charge_card", by="the cashier")
    report = HistoryService(store, SQLAlchemyArchive(engine), retention_ms=1).archive_and_remove()
    assert report.archived == 3


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
    whole_log, how_they_ended, by_whom = questions

    with engine.connect() as connection:
        log = connection.execute(text(whole_log)).all()
        ends = connection.execute(text(how_they_ended)).all()
        people = connection.execute(text(by_whom)).all()

    assert [_plain(entry.kind) for entry in log] == ["process_started", "step_completed"]
    assert [(_plain(end.process_type), _plain(end.state), end.processes) for end in ends] == [
        ("Checkout", "completed", 3)
    ]
    assert [each.detail for each in people] == ["the cashier"] * 3
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

    assert (kept, left) == ([3, 6, 6], [0, 0, 0])


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
        _archive_three_orders(as_program)
    finally:
        as_program.dispose()
        with postgresql_engine.begin() as connection:
            connection.execute(text(f"DROP OWNED BY {ROLE}"))
            connection.execute(text(f"DROP ROLE {ROLE}"))


def _plain(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _rows(connection: Connection) -> list[int]:
    tables = ("trellis_history", "trellis_history_steps", "trellis_history_log")
    return [connection.scalar(text(f"SELECT count(*) FROM {table}")) for table in tables]
