"""The promises of `ports.ProcessStore`, each as a test. No test sleeps, and time is the store's own."""

import pytest

from trellis_celery.repositories import ProcessRepository, RepositoryStore, StepTrackerRepository
from trellis_celery.testing.contract.clocks import ClockPromises
from trellis_celery.testing.contract.crashes import CrashPromises
from trellis_celery.testing.contract.ends import EndPromises
from trellis_celery.testing.contract.finished import FinishedPromises
from trellis_celery.testing.contract.identifiers import IdentifierPromises
from trellis_celery.testing.contract.incidents import IncidentPromises
from trellis_celery.testing.contract.large import LargePromises
from trellis_celery.testing.contract.lists import ListPromises
from trellis_celery.testing.contract.outbox import OutboxPromises
from trellis_celery.testing.contract.pair_crashes import PairCrashPromises
from trellis_celery.testing.contract.pair_races import PairRacePromises
from trellis_celery.testing.contract.processes import ProcessPromises
from trellis_celery.testing.contract.races import RacePromises
from trellis_celery.testing.contract.repetition import PairRepetition, RepetitionPromises
from trellis_celery.testing.contract.stats import StatsPromises, TotalPromises
from trellis_celery.testing.contract.steps import StepPromises


class _Promises(
    ProcessPromises,
    ListPromises,
    FinishedPromises,
    IncidentPromises,
    EndPromises,
    StatsPromises,
    StepPromises,
    ClockPromises,
    IdentifierPromises,
    LargePromises,
    RacePromises,
):
    """What every store promises, however it is made."""


class StoreContract(_Promises, CrashPromises, RepetitionPromises):
    """What every store promises.

    Override the fixture `store` with one that returns an empty store, and `open_again` with one that returns a function
    by which another OS process opens the same store; or say `shared_between_processes = False`.
    """


class CountingStoreContract(StoreContract, TotalPromises, OutboxPromises):
    """What a store promises that counts what it writes, and is an `Outbox` as well."""


class RepositoryContract(_Promises, PairRepetition, PairCrashPromises, PairRacePromises):
    """What a `RepositoryStore` over two repositories promises: all of it, but to recognise its own repetition.

    Override the fixtures `processes` and `trackers` with ones that return an empty repository each.
    """

    @pytest.fixture
    def store(self, processes: ProcessRepository, trackers: StepTrackerRepository) -> RepositoryStore:
        return RepositoryStore(processes, trackers)


__all__ = ["CountingStoreContract", "RepositoryContract", "StoreContract"]
