"""Events as log records: what needs a person's attention at WARNING and above, everything else at DEBUG."""

from __future__ import annotations

import logging

from trellis_celery.domain.events import Event, EventKind
from trellis_celery.logs import EventLogger

logger = EventLogger("trellis_celery.events")

_LEVELS = {
    EventKind.STEP_GAVE_UP: logging.ERROR,
    EventKind.PROCESS_OVERDUE: logging.WARNING,
    EventKind.RUN_LOST: logging.WARNING,
    EventKind.STEP_TIMED_OUT: logging.WARNING,
    EventKind.STEP_REENQUEUED: logging.WARNING,
    EventKind.STEP_RESENT: logging.WARNING,
    EventKind.OUTCOME_LATE: logging.WARNING,
    EventKind.RUN_REFUSED: logging.INFO,
}


class LogSink:
    """Writes one log record an event."""

    def emit(self, process_id: str, event: Event) -> None:
        facts = {"process_id": process_id, "step": event.step_name, "attempt": event.attempt}
        if event.detail:
            facts["detail"] = event.detail
        logger.log(_LEVELS.get(event.kind, logging.DEBUG), event.kind, extra=facts)
