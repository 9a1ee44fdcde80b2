"""The promises of `ports.ProcessStore`, each as a test. No test sleeps, and time is the store's own."""

from trellis_celery.testing.contract.clocks import ClockPromises
from trellis_celery.testing.contract.identifiers import IdentifierPromises
from trellis_celery.testing.contract.processes import ProcessPromises
from trellis_celery.testing.contract.repetition import PairRepetition, RepetitionPromises
from trellis_celery.testing.contract.steps import StepPromises


class StoreContract(ProcessPromises, StepPromises, RepetitionPromises, ClockPromises, IdentifierPromises):
    """What every store promises. Override the fixture `store` with one that returns an empty store."""


class RepositoryContract(ProcessPromises, StepPromises, PairRepetition, ClockPromises, IdentifierPromises):
    """What a `RepositoryStore` over two repositories promises: all of it, but to recognise its own repetition."""


__all__ = ["RepositoryContract", "StoreContract"]
