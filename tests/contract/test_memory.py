import pytest

from trellis_celery.stores.memory import MemoryStore
from trellis_celery.testing import CountingStoreContract, ManualClock


class TestMemoryStore(CountingStoreContract):
    shared_between_processes = False

    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore(clock=ManualClock())


class TestMemoryStoreByTheTimeOfThisMachine(CountingStoreContract):
    shared_between_processes = False

    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()
