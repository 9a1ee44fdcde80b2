"""The repositories that we ship, each with one of another kind, of which it knows nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from tests.support import redis_forms
from tests.support.databases import emptied
from tests.support.redis_forms import Place
from trellis_celery.repositories import ProcessRepository, RepositoryStore, StepTrackerRepository
from trellis_celery.stores.memory import InMemoryProcessRepository, InMemoryStepTrackerRepository
from trellis_celery.stores.redis.connect import Client, connect
from trellis_celery.stores.redis.trackers import RedisStepTrackerRepository
from trellis_celery.stores.sqlalchemy import SQLAlchemyProcessRepository
from trellis_celery.stores.sqlalchemy.connect import engine_for
from trellis_celery.stores.sqlalchemy.schema import migrate
from trellis_celery.testing import RepositoryContract

TIMEOUT_MS = 20_000


def _connect(place: Place) -> Client:
    return connect(place.url, timeout_ms=10_000, transport_options=place.transport_options)


def _open_sql_with_redis(url: str, place: Place, prefix: str) -> RepositoryStore:
    processes = SQLAlchemyProcessRepository(engine_for(url, timeout_ms=TIMEOUT_MS), timeout_ms=TIMEOUT_MS)
    return RepositoryStore(processes, RedisStepTrackerRepository(_connect(place), prefix=prefix))


class _FewerCrashes:
    """What two actors do to each other is shown over memory: here it would take tens of thousands of round trips."""

    many_processes = 700
    page_size = 100
    many_late_steps = 300

    test_a_writer_so_slow_that_others_did_its_work_may_crash_too = None
    test_nothing_is_lost_or_counted_twice_whatever_comes_between_two_calls = None


class _WithoutCrashes(_FewerCrashes):
    """A further server of a kind that has had its crashes and its crowds."""

    test_a_process_may_have_ten_thousand_steps = None
    test_thousands_of_finished_processes_are_read_page_by_page_while_they_change = None
    test_thousands_of_processes_are_listed_page_by_page_while_they_change = None
    test_what_a_crash_leaves_undone_is_done_by_the_next_check = None


class _ProcessesInMemory(RepositoryContract):
    shared_between_processes = False

    @pytest.fixture
    def processes(self, trackers: StepTrackerRepository) -> ProcessRepository:
        return InMemoryProcessRepository(clock=trackers)


class _TrackersInRedis(RepositoryContract):
    rivals_crash = False

    @pytest.fixture
    def prefix(self) -> str:
        return f"test-{uuid4().hex}"

    @pytest.fixture
    def trackers(self, place: Place, prefix: str) -> Iterator[StepTrackerRepository]:
        with closing(_connect(place)) as client:
            yield RedisStepTrackerRepository(client, prefix=prefix)


class TestMemoryWithValkey(_FewerCrashes, _ProcessesInMemory, _TrackersInRedis):
    @pytest.fixture
    def place(self, valkey_server: str) -> Place:
        return Place(f"{valkey_server}/2")


class TestMemoryWithRedis(_WithoutCrashes, _ProcessesInMemory, _TrackersInRedis):
    @pytest.fixture
    def place(self, redis_server: str) -> Place:
        return Place(f"{redis_server}/2")


class TestMemoryWithCluster(_WithoutCrashes, _ProcessesInMemory, _TrackersInRedis):
    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
        with redis_forms.as_cluster(tmp_path_factory.mktemp("cluster")) as place:
            yield place


class _ProcessesInSQL(RepositoryContract):
    rivals_crash = False
    # Each change of a step reads the whole process, as the repository's users see it.
    many_changes = 20
    many_completions = 100
    many_processes = 500
    page_size = 75

    @pytest.fixture
    def processes(self, engine: Engine) -> ProcessRepository:
        emptied(engine)
        return SQLAlchemyProcessRepository(engine, timeout_ms=TIMEOUT_MS)

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, url: str) -> Iterator[Engine]:
        engine = engine_for(url, timeout_ms=TIMEOUT_MS)
        migrate(engine)
        yield engine
        engine.dispose()


class TestSQLiteWithMemory(_FewerCrashes, _ProcessesInSQL):
    shared_between_processes = False

    @pytest.fixture
    def trackers(self) -> StepTrackerRepository:
        return InMemoryStepTrackerRepository()

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, tmp_path_factory: pytest.TempPathFactory) -> str:
        directory: Path = tmp_path_factory.mktemp("sqlite")
        return f"sqlite:///{directory}/trellis.db"


class _SQLWithValkey(_ProcessesInSQL, _TrackersInRedis):
    @pytest.fixture
    def open_again(self, url: str, place: Place, prefix: str) -> Callable[[], RepositoryStore]:
        return partial(_open_sql_with_redis, url, place, prefix)

    @pytest.fixture
    def place(self, valkey_server: str) -> Place:
        return Place(f"{valkey_server}/2")


class TestPostgreSQLWithValkey(_FewerCrashes, _SQLWithValkey):
    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, postgresql_url: str) -> str:
        return postgresql_url


class TestMariaDBWithValkey(_WithoutCrashes, _SQLWithValkey):
    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, mariadb_url: str) -> str:
        return mariadb_url
