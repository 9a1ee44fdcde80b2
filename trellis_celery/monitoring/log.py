"""Events as log records: what needs a person's attention at WARNING and above, everything else at DEBUG."""

from __future__ import annotations

import logging

from trellis_celery.domain.events import Event, EventKind

logger = logging.getLogger("trellis_celery.events")

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
    """Writes one log record an event. Ids are in the message as well as in `extra`: plain logs can be searched."""

    def emit(self, process_id: str, event: Event) -> None:
        level = _LEVELS.get(event.kind, logging.DEBUG)
        if not logger.isEnabledFor(level):
            return
        logger.log(
            level,
            "%s process=%s step=%s attempt=%s%s",
            event.kind.value,
            process_id,
            event.step_name or "-",
            event.attempt,
            f" {event.detail!r}" if event.detail else "",
            extra={"process_id": process_id, "step": event.step_name, "attempt": event.attempt},
        )
