"""Processes and trackers in two repositories that a team may write itself, as in trellis-process."""

from trellis_celery.repositories.interfaces import ProcessRepository, StepTrackerRepository
from trellis_celery.repositories.store import RepositoryStore

__all__ = ["ProcessRepository", "RepositoryStore", "StepTrackerRepository"]
