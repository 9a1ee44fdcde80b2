"""For tests of programs that use trellis, and of stores that a team writes itself.

Whoever writes a store subclasses `StoreContract` in a test module and gives it an empty one (`CountingStoreContract` if
it counts events and is an `Outbox`); whoever writes a pair of
repositories subclasses `RepositoryContract`::

    class TestOurStore(StoreContract):
        @pytest.fixture
        def store(self):
            return OurStore()

With ``pytest.register_assert_rewrite("trellis_celery.testing.contract")`` in `conftest.py` a failure shows its values.
"""

from trellis_celery.testing.contract import CountingStoreContract, RepositoryContract, StoreContract
from trellis_celery.testing.fakes import ManualClock, RecordingRequeuer, RecordingSink

__all__ = [
    "CountingStoreContract",
    "ManualClock",
    "RecordingRequeuer",
    "RecordingSink",
    "RepositoryContract",
    "StoreContract",
]
