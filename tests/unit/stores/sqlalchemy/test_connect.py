from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from trellis_celery import errors
from trellis_celery.stores.sqlalchemy import SQLAlchemyStore
from trellis_celery.stores.sqlalchemy.connect import engine_for

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://u@h/d", "postgresql+psycopg"),
        ("postgres://u@h/d", "postgresql+psycopg"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg"),
        ("mysql://u@h/d", "mysql+pymysql"),
        ("mariadb+pymysql://u@h/d", "mariadb+pymysql"),
        ("sqlite:///:memory:", "sqlite+pysqlite"),
    ],
)
def test_a_url_gets_the_driver_whose_waits_can_be_bounded(url: str, driver: str) -> None:
    engine = engine_for(url, timeout_ms=1_000)

    assert engine.url.drivername == driver
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    [
        f"oracle://user:{SECRET}@host/database",
        f"mysql+mysqldb://user:{SECRET}@host/database",
        f"postgresql://user:{SECRET}@host:port/database",
        f"postgresql//user:{SECRET}@host/database",
        f"nonsense:{SECRET}@host",
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_its_password(url: str) -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        engine_for(url, timeout_ms=1_000)

    assert SECRET not in str(caught.value)


def test_a_driver_that_is_not_installed_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pymysql", None)

    with pytest.raises(errors.ConfigurationError, match=r"pip install trellis-celery\[mysql\]") as caught:
        engine_for(f"mysql://user:{SECRET}@host/database", timeout_ms=1_000)

    assert SECRET not in str(caught.value)


def test_what_the_url_asks_of_the_server_is_asked_with_our_limits() -> None:
    engine = engine_for("postgresql://u@h/d?options=-c%20search_path=other", timeout_ms=3_000)

    connect_arguments = engine.dialect.create_connect_args(engine.url)[1]
    assert connect_arguments["options"] == "-c search_path=other"
    assert engine.pool.timeout() == 1.5  # type: ignore[attr-defined]
    engine.dispose()


def test_readers_and_the_writer_of_a_sqlite_file_do_not_wait_for_each_other(tmp_path: Path) -> None:
    engine = engine_for(f"sqlite:///{tmp_path}/file.db", timeout_ms=1_000)

    with engine.connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
    engine.dispose()


def test_a_store_over_something_else_is_refused() -> None:
    with pytest.raises(errors.ConfigurationError, match="str"):
        SQLAlchemyStore("sqlite://")  # type: ignore[arg-type]
