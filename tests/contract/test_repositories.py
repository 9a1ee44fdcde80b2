import pytest

from trellis_celery.stores.memory import InMemoryProcessRepository, InMemoryStepTrackerRepository
from trellis_celery.testing import ManualClock, RepositoryContract


class TestInMemoryRepositories(RepositoryContract):
    shared_between_processes = False

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def processes(self, clock: ManualClock) -> InMemoryProcessRepository:
        return InMemoryProcessRepository(clock=clock)

    @pytest.fixture
    def trackers(self, clock: ManualClock) -> InMemoryStepTrackerRepository:
        return InMemoryStepTrackerRepository(clock=clock)
