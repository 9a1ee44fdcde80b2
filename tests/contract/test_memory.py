import pytest

from trellis_celery.stores.memory import MemoryStore
from trellis_celery.testing import ManualClock, StoreContract


class TestMemoryStore(StoreContract):
    shared_between_processes = False

    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore(clock=ManualClock())


class TestMemoryStoreByTheTimeOfThisMachine(StoreContract):
    shared_between_processes = False

    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()
