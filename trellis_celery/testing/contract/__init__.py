"""The promises of `ports.ProcessStore`, each as a test. No test sleeps, and time is the store's own."""

from trellis_celery.testing.contract.clocks import ClockPromises
from trellis_celery.testing.contract.finished import FinishedPromises
from trellis_celery.testing.contract.identifiers import IdentifierPromises
from trellis_celery.testing.contract.lists import ListPromises
from trellis_celery.testing.contract.processes import ProcessPromises
from trellis_celery.testing.contract.repetition import PairRepetition, RepetitionPromises
from trellis_celery.testing.contract.steps import StepPromises


class _Promises(
    ProcessPromises, ListPromises, FinishedPromises, StepPromises, ClockPromises, IdentifierPromises
):
    """What every store promises, however it is made."""


class StoreContract(_Promises, RepetitionPromises):
    """What every store promises. Override the fixture `store` with one that returns an empty store."""


class RepositoryContract(_Promises, PairRepetition):
    """What a `RepositoryStore` over two repositories promises: all of it, but to recognise its own repetition."""


__all__ = ["RepositoryContract", "StoreContract"]
