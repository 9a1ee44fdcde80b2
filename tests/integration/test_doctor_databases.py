"""What `trellis doctor` says of SQL databases and DynamoDB: each fault is made on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import URL, Engine, StaticPool, create_engine, event, make_url, text

from tests.support.databases import without_tables
from tests.support.examining import level, made, said, seen
from tests.support.programs import free_port
from trellis_celery.doctor import Level
from trellis_celery.repositories import RepositoryStore
from trellis_celery.stores.dynamodb import tables
from trellis_celery.stores.dynamodb.connect import connect
from trellis_celery.stores.memory import InMemoryStepTrackerRepository
from trellis_celery.stores.sqlalchemy import SQLAlchemyStore, schema
from trellis_celery.stores.sqlalchemy.connect import engine_for
from trellis_celery.stores.sqlalchemy.processes import SQLAlchemyProcessRepository

pytestmark = pytest.mark.integration


def _empty(url: str) -> Iterator[Engine]:
    engine = engine_for(url, timeout_ms=20_000)
    without_tables(engine)
    yield engine
    without_tables(engine)
    engine.dispose()


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[Engine]:
    """Without tables."""
    yield from _empty(postgresql_url)


@pytest.fixture
def mariadb(mariadb_url: str) -> Iterator[Engine]:
    """Without tables."""
    yield from _empty(mariadb_url)


@pytest.fixture
def own_engine() -> Iterator[Any]:
    """Makes engines as a team would, and closes them."""
    engines: list[Engine] = []

    def make(url: Any, **options: Any) -> Engine:
        engines.append(create_engine(url, **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


@pytest.mark.parametrize("kind", ["postgresql", "mariadb", "sqlite"])
def test_tables_are_missed_then_current_then_old_then_new(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    engine = engine_for(url, timeout_ms=2_000) if kind == "sqlite" else request.getfixturevalue(kind)

    def now(version: str) -> Level:
        with engine.begin() as connection:
            connection.execute(text("UPDATE trellis_version SET version_num = :version"), {"version": version})
        with made(store=SQLAlchemyStore(engine)) as trellis:
            return level(trellis, "sql-schema")

    with made(store=SQLAlchemyStore(engine)) as trellis:
        (missing,) = said(trellis, "sql-schema")
        assert (missing.level, "trellis migrate" in missing.advice) == (Level.PROBLEM, True)
        assert level(trellis, "store-reachable") is Level.OK
    schema.migrate(engine)

    assert now(schema.HEAD) is Level.OK
    assert now("0001") is Level.PROBLEM
    assert now("9999") is Level.NOTE
    engine.dispose()


def test_a_database_that_trellis_connects_to_itself_is_fine(postgresql: Engine, mariadb: Engine) -> None:
    for engine in (postgresql, mariadb):
        schema.migrate(engine)
        with made(store=SQLAlchemyStore(engine)) as trellis:
            report = seen(trellis)
        levels = {finding.check: finding.level for finding in report.findings}
        assert levels["sql-isolation"] is levels["sql-rights"] is levels["store-clock"] is Level.OK
        assert ("sql-engine" in levels) == (engine is mariadb)


def test_a_server_that_does_not_write_to_disk_is_a_warning(postgresql: Engine, mariadb: Engine) -> None:
    """The servers of the tests do not, so that the tests are quick."""
    for engine, setting in ((postgresql, "fsync = off"), (mariadb, "innodb_flush_log_at_trx_commit = 2")):
        schema.migrate(engine)
        with made(store=SQLAlchemyStore(engine)) as trellis:
            (finding,) = said(trellis, "sql-durability")
        assert finding.level is Level.WARNING
        assert setting in finding.found


@pytest.mark.parametrize(("kind", "expected"), [("postgresql", Level.NOTE), ("mariadb", Level.WARNING)])
def test_the_isolation_of_an_engine_of_the_teams_own_is_judged(
    kind: str, expected: Level, request: pytest.FixtureRequest, own_engine: Any
) -> None:
    theirs: Engine = request.getfixturevalue(kind)
    schema.migrate(theirs)
    engine = own_engine(theirs.url, isolation_level="REPEATABLE READ")

    with made(store=SQLAlchemyStore(engine)) as trellis:
        assert level(trellis, "sql-isolation") is expected


def test_a_table_without_transactions_is_a_problem(mariadb: Engine) -> None:
    schema.migrate(mariadb)
    with mariadb.begin() as connection:
        connection.execute(text("ALTER TABLE trellis_totals ENGINE = MyISAM"))

    with made(store=SQLAlchemyStore(mariadb)) as trellis:
        (finding,) = said(trellis, "sql-engine")

    assert finding.level is Level.PROBLEM
    assert "trellis_totals is MyISAM" in finding.found


@contextmanager
def _reader(engine: Engine) -> Iterator[URL]:
    """Of a user who may read all tables and write none."""
    schema.migrate(engine)
    is_postgresql = engine.dialect.name == "postgresql"
    grant = "ALL TABLES IN SCHEMA public" if is_postgresql else "shop.*"
    _execute(
        engine,
        f"CREATE {'ROLE reader LOGIN' if is_postgresql else 'USER reader'}",
        f"GRANT SELECT ON {grant} TO reader",
    )
    yield engine.url.set(username="reader", password="")
    _execute(engine, *(["DROP OWNED BY reader", "DROP ROLE reader"] if is_postgresql else ["DROP USER reader"]))


def _execute(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


@pytest.fixture
def database_of_rights(mariadb: Engine, own_engine: Any) -> Iterator[Engine]:
    """Beside `test`, where MariaDB lets everybody do everything."""
    _execute(mariadb, "CREATE DATABASE shop")
    yield own_engine(mariadb.url.set(database="shop"))
    _execute(mariadb, "DROP DATABASE shop")


@pytest.mark.parametrize("kind", ["postgresql", "database_of_rights"])
def test_a_user_who_may_only_read_is_a_problem(kind: str, request: pytest.FixtureRequest, own_engine: Any) -> None:
    with _reader(request.getfixturevalue(kind)) as url:
        reading = own_engine(url)
        with made(store=SQLAlchemyStore(reading)) as trellis:
            (finding,) = said(trellis, "sql-rights")
        reading.dispose()

    assert finding.level is Level.PROBLEM
    assert "INSERT on trellis_" in finding.found
    assert "SELECT on" not in finding.found


def test_a_database_that_only_reads_is_a_problem(postgresql: Engine, mariadb: Engine, own_engine: Any) -> None:
    schema.migrate(postgresql)
    options = {"options": "-c default_transaction_read_only=on"}
    with made(store=SQLAlchemyStore(own_engine(postgresql.url, connect_args=options))) as trellis:
        assert "read-only" in said(trellis, "sql-rights")[0].found

    schema.migrate(mariadb)
    with mariadb.begin() as connection:
        connection.execute(text("SET GLOBAL read_only = ON"))
    try:
        with made(store=SQLAlchemyStore(mariadb)) as trellis:
            assert "read-only" in said(trellis, "sql-rights")[0].found
    finally:
        with mariadb.begin() as connection:
            connection.execute(text("SET GLOBAL read_only = OFF"))


def test_a_file_of_sqlite_is_for_one_machine_and_wants_its_journal_and_its_disk(
    tmp_path: Path, own_engine: Any
) -> None:
    ours, theirs = own_engine(f"sqlite:///{tmp_path}/ours.db"), own_engine(f"sqlite:///{tmp_path}/theirs.db")

    @event.listens_for(theirs, "connect")
    def set_up(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(ours, "connect", lambda connection, _: connection.execute("PRAGMA journal_mode = WAL"))
    for engine, expected in ((ours, Level.OK), (theirs, Level.WARNING)):
        schema.migrate(engine)
        with made(store=SQLAlchemyStore(engine)) as trellis:
            assert level(trellis, "sql-journal") is expected
            assert level(trellis, "sql-durability") is expected
            assert level(trellis, "store-shared") is Level.NOTE


def test_a_database_in_memory_is_a_problem(own_engine: Any) -> None:
    engine = own_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    schema.migrate(engine)

    with made(store=SQLAlchemyStore(engine)) as trellis:
        assert level(trellis, "store-shared") is Level.PROBLEM


def test_a_look_at_a_database_changes_nothing_in_it(postgresql: Engine) -> None:
    schema.migrate(postgresql)

    def rows() -> list[Any]:
        with postgresql.connect() as connection:
            names = connection.scalars(text("SELECT tablename FROM pg_tables WHERE tablename LIKE 'trellis%'")).all()
            return [(name, connection.execute(text(f"SELECT * FROM {name}")).all()) for name in sorted(names)]

    before = rows()
    with made(store=SQLAlchemyStore(postgresql)) as trellis:
        seen(trellis)

    assert len(before) > 3
    assert rows() == before


def test_the_parts_of_a_pair_are_looked_at_each_for_itself(postgresql: Engine) -> None:
    schema.migrate(postgresql)
    pair = RepositoryStore(SQLAlchemyProcessRepository(postgresql), InMemoryStepTrackerRepository())

    with made(store=pair) as trellis:
        findings = said(trellis, "store-shared")

    assert {finding.about: finding.level for finding in findings} == {"processes": Level.OK, "trackers": Level.PROBLEM}


def test_a_database_that_is_down_is_told_without_its_password() -> None:
    url = f"postgresql+psycopg://shop:secret@127.0.0.1:{free_port()}/shop"
    with made(trellis_url=url, trellis_history_url="mysql+pymysql://shop:secret@127.0.0.1:1/shop") as trellis:
        report = seen(trellis)

    findings = {finding.about: finding for finding in report.findings if finding.check == "store-reachable"}
    assert {finding.level for finding in findings.values()} == {Level.PROBLEM}
    assert "pile up" in findings["archive"].why
    assert "secret" not in repr(report)
    assert "sql-schema" in report.unchecked


# DynamoDB


@pytest.fixture
def dynamodb_url(dynamodb_endpoint: str) -> str:
    """A table that is not there."""
    return f"dynamodb://eu-west-1/doctor-{uuid4().hex}?endpoint={dynamodb_endpoint}"


def test_a_table_is_missed_then_its_indexes_then_nothing(dynamodb_url: str) -> None:
    client, table = connect(dynamodb_url, timeout_ms=20_000)
    with made(trellis_url=dynamodb_url) as trellis:
        (missing,) = said(trellis, "dynamodb-table")
        assert (missing.level, missing.found) == (Level.PROBLEM, f"there is no table {table}")

        bare = tables.describe(table)
        lost = bare["GlobalSecondaryIndexes"].pop()["IndexName"]
        bare["AttributeDefinitions"] = [
            one for one in bare["AttributeDefinitions"] if one["AttributeName"] not in (lost, tables.INDEXES[lost][1])
        ]
        client.create_table(**bare)
        (incomplete,) = said(trellis, "dynamodb-table")
        assert (incomplete.level, lost in incomplete.found) == (Level.PROBLEM, True)

        tables.create_tables(client, table)
        assert level(trellis, "dynamodb-table") is Level.OK
        assert level(trellis, "store-reachable") in (Level.OK, Level.WARNING)  # moto takes its time
        assert level(trellis, "store-clock") is Level.OK
    client.close()


def test_a_driver_that_is_not_installed_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pymysql", None)
    with made(trellis_url="mysql+pymysql://shop@127.0.0.1/shop") as trellis:
        (finding,) = said(trellis, "settings")

    assert finding.level is Level.PROBLEM
    assert "trellis-celery[mysql]" in finding.found


def test_a_url_is_shown_without_its_password_in_every_form() -> None:
    url = make_url("postgresql+psycopg://shop@127.0.0.1:1/shop?password=secret").render_as_string(hide_password=False)
    with made(trellis_url=url) as trellis:
        assert "secret" not in repr(seen(trellis))
