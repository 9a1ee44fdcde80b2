"""Processes in the memory of one Python process: for tests, demos and programs that need no more."""

from trellis_celery.stores.memory.archive import MemoryArchive
from trellis_celery.stores.memory.repositories import InMemoryProcessRepository, InMemoryStepTrackerRepository
from trellis_celery.stores.memory.store import MemoryStore

__all__ = ["InMemoryProcessRepository", "InMemoryStepTrackerRepository", "MemoryArchive", "MemoryStore"]
