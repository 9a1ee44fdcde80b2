"""The migrations make the tables that the models describe, on each database."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from tests.support.databases import without_tables
from trellis_celery import errors
from trellis_celery.stores.sqlalchemy import SQLAlchemyStore, schema
from trellis_celery.stores.sqlalchemy.connect import engine_for
from trellis_celery.stores.sqlalchemy.models import Base
from trellis_celery.testing.contract import builders

DATABASES = ["sqlite", "postgresql", "mariadb"]


@pytest.fixture(params=DATABASES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database without tables; they are there again afterwards, for other tests go on with it."""
    name = request.param
    url = f"sqlite:///{tmp_path}/file.db" if name == "sqlite" else request.getfixturevalue(f"{name}_url")
    engine = engine_for(url, timeout_ms=20_000)
    without_tables(engine)
    yield engine
    without_tables(engine)
    schema.migrate(engine)
    engine.dispose()


def test_the_migrations_make_what_the_models_say(engine: Engine) -> None:
    schema.migrate(engine)

    with engine.connect() as connection:
        options = {"version_table": schema.VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    schema.migrate(engine)
    process = builders.created(SQLAlchemyStore(engine))

    schema.migrate(engine)

    assert SQLAlchemyStore(engine).load(process.id).key == process.key


def test_programs_that_migrate_at_the_same_time_wait_for_each_other(engine: Engine) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(schema.migrate, [engine] * 4))

    builders.created(SQLAlchemyStore(engine))


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)
def test_a_migration_takes_part_in_the_transaction_of_its_connection(engine: Engine) -> None:
    """Not with MySQL and MariaDB: their transactions leave tables out."""
    with engine.connect() as connection:
        schema.migrate(connection)
        connection.rollback()

    assert inspect(engine).get_table_names() == []


def test_a_store_without_tables_says_what_to_do(engine: Engine) -> None:
    store = SQLAlchemyStore(engine)

    for call in (store.last_check, lambda: builders.created(store)):
        with pytest.raises(errors.SchemaOutdated, match="trellis migrate"):
            call()

    schema.migrate(engine)
    builders.created(store)


def test_tables_that_go_while_a_store_is_used_are_missed(engine: Engine) -> None:
    schema.migrate(engine)
    store = SQLAlchemyStore(engine)
    process = builders.created(store)
    without_tables(engine)

    with pytest.raises(errors.SchemaOutdated):
        store.load(process.id)
    (outcome,) = store.commit([builders.change(process, builders.start())])
    assert isinstance(outcome, errors.SchemaOutdated)


@pytest.mark.fault("C8")
def test_tables_of_an_older_release_are_left_alone(engine: Engine) -> None:
    schema.migrate(engine)
    _set_version(engine, "0000")

    with pytest.raises(errors.SchemaOutdated, match="0000"):
        SQLAlchemyStore(engine).list_processes()


@pytest.mark.fault("C8")
def test_tables_of_a_newer_release_are_used_and_not_migrated(engine: Engine) -> None:
    schema.migrate(engine)
    _set_version(engine, "9999")

    schema.migrate(engine)

    assert schema.current(engine) == "9999"
    builders.created(SQLAlchemyStore(engine))


def _set_version(engine: Engine, version: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '{version}'"))


@pytest.mark.parametrize("dialect", ["postgresql", "mysql", "mariadb", "sqlite", "postgresql://user:secret@host/db"])
def test_the_sql_of_the_migrations_can_be_read_without_a_database(dialect: str) -> None:
    sql = schema.sql(dialect)

    for table in Base.metadata.tables:
        assert f"CREATE TABLE {table}" in sql
    assert schema.VERSION_TABLE in sql
    assert "secret" not in sql


def test_the_sql_of_the_migrations_makes_the_tables(engine: Engine) -> None:
    statements = schema.sql(engine.dialect.name).split(";\n")
    with engine.begin() as connection:
        for statement in statements:
            if statement.strip() and statement.strip() not in ("BEGIN", "COMMIT"):
                connection.exec_driver_sql(statement.strip())

    builders.created(SQLAlchemyStore(engine))


def test_there_is_no_sql_for_a_database_that_is_not_known() -> None:
    with pytest.raises(errors.ConfigurationError, match="nonsense"):
        schema.sql("nonsense")
