"""The store contract over real databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.support.databases import emptied
from trellis_celery.stores.sqlalchemy import SQLAlchemyStore
from trellis_celery.stores.sqlalchemy.connect import engine_for
from trellis_celery.stores.sqlalchemy.schema import migrate
from trellis_celery.testing import CountingStoreContract

TIMEOUT_MS = 20_000


def _open(url: str) -> SQLAlchemyStore:
    return SQLAlchemyStore(engine_for(url, timeout_ms=TIMEOUT_MS), timeout_ms=TIMEOUT_MS)


class _OverDatabase(CountingStoreContract):
    @pytest.fixture
    def store(self, engine: Engine) -> SQLAlchemyStore:
        emptied(engine)
        return SQLAlchemyStore(engine, timeout_ms=TIMEOUT_MS)

    @pytest.fixture
    def open_again(self, url: str) -> Callable[[], SQLAlchemyStore]:
        return partial(_open, url)

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, url: str) -> Iterator[Engine]:
        engine = engine_for(url, timeout_ms=TIMEOUT_MS)
        migrate(engine)
        yield engine
        engine.dispose()


class TestSQLiteFile(_OverDatabase):
    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, tmp_path_factory: pytest.TempPathFactory) -> str:
        directory: Path = tmp_path_factory.mktemp("sqlite")
        return f"sqlite:///{directory}/trellis.db"


class TestSQLiteMemory(_OverDatabase):
    shared_between_processes = False

    @pytest.fixture
    def open_again(self) -> Callable[[], SQLAlchemyStore]:
        pytest.skip("a database in memory lives in one Python process")

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls) -> str:
        return "sqlite://"


class _OverServer(_OverDatabase):
    crashes = 5
    many_processes = 700
    page_size = 100


class TestPostgreSQL(_OverServer):
    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, postgresql_url: str) -> str:
        return postgresql_url


class TestMariaDB(_OverServer):
    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, mariadb_url: str) -> str:
        return mariadb_url
