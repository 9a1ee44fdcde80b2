"""`memory://`: in this Python process and no other."""

from __future__ import annotations

from trellis_celery.settings import Settings
from trellis_celery.stores.memory.archive import MemoryArchive
from trellis_celery.stores.memory.repositories import InMemoryProcessRepository, InMemoryStepTrackerRepository
from trellis_celery.stores.memory.store import MemoryStore


def open_store(_url: str, _settings: Settings) -> MemoryStore:
    return MemoryStore()


def open_processes(_url: str, _settings: Settings) -> InMemoryProcessRepository:
    return InMemoryProcessRepository()


def open_trackers(_url: str, _settings: Settings) -> InMemoryStepTrackerRepository:
    return InMemoryStepTrackerRepository()


def open_archive(_url: str, _settings: Settings) -> MemoryArchive:
    return MemoryArchive()
