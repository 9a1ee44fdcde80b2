"""Celery tasks as steps of a business process: tracked, timed, and sent again when they are lost."""

from trellis_celery.domain.definitions import ProcessType, Step
from trellis_celery.domain.events import Event, EventKind, ProcessStepTimedOut
from trellis_celery.domain.process import Process, ProcessState
from trellis_celery.domain.queries import ProcessFilter, ProcessSummary
from trellis_celery.domain.step import ProcessStep, StepState
from trellis_celery.domain.tracker import StepTracker
from trellis_celery.errors import TrellisError
from trellis_celery.monitoring import signals
from trellis_celery.plugin.bindings import process_step
from trellis_celery.plugin.current import CurrentStep, current_step
from trellis_celery.plugin.extension import Trellis
from trellis_celery.plugin.handle import ProcessHandle
from trellis_celery.repositories import ProcessRepository, StepTrackerRepository
from trellis_celery.services.processes import ProcessService
from trellis_celery.services.timeouts import TimeoutCheckerService
from trellis_celery.stores.memory import InMemoryProcessRepository, InMemoryStepTrackerRepository

__version__ = "0.1.0"

__all__ = [
    "CurrentStep",
    "Event",
    "EventKind",
    "InMemoryProcessRepository",
    "InMemoryStepTrackerRepository",
    "Process",
    "ProcessFilter",
    "ProcessHandle",
    "ProcessRepository",
    "ProcessService",
    "ProcessState",
    "ProcessStep",
    "ProcessStepTimedOut",
    "ProcessSummary",
    "ProcessType",
    "Step",
    "StepState",
    "StepTracker",
    "StepTrackerRepository",
    "TimeoutCheckerService",
    "Trellis",
    "TrellisError",
    "current_step",
    "process_step",
    "signals",
]
