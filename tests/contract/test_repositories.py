import pytest

from trellis_celery.repositories import RepositoryStore
from trellis_celery.stores.memory import InMemoryProcessRepository, InMemoryStepTrackerRepository
from trellis_celery.testing import ManualClock, RepositoryContract


class TestInMemoryRepositories(RepositoryContract):
    @pytest.fixture
    def store(self) -> RepositoryStore:
        clock = ManualClock()
        return RepositoryStore(InMemoryProcessRepository(clock=clock), InMemoryStepTrackerRepository(clock=clock))
