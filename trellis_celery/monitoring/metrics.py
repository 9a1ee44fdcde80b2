"""What is measured. Names, types and labels are API: dashboards and alarms of other people are made of them.

No label ever has a value that tells one process from another, or one tenant.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from msgspec import Struct

from trellis_celery.domain.events import EventKind


class MetricType(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(Struct, frozen=True):
    """One metric as it is exported. Durations are in seconds."""

    #: Of a histogram, what its `_bucket`, `_sum` and `_count` begin with.
    name: str
    type: MetricType
    labels: tuple[str, ...]
    help: str


_OF_STEP = ("process_type", "step")
_OF_PROCESS = ("process_type",)


def _counter(name: str, labels: tuple[str, ...], help_text: str) -> Metric:
    return Metric(f"trellis_{name}_total", MetricType.COUNTER, labels, help_text)


def _gauge(name: str, labels: tuple[str, ...], help_text: str) -> Metric:
    return Metric(f"trellis_{name}", MetricType.GAUGE, labels, help_text)


#: How often each kind of event has happened. Every kind has one.
OF_EVENTS: Mapping[EventKind, Metric] = MappingProxyType(
    {
        EventKind.STEP_QUEUED: _counter("steps_queued", _OF_STEP, "Messages published for a step for the first time"),
        EventKind.STEP_WITHDRAWN: _counter("steps_withdrawn", _OF_STEP, "Messages that could not be published"),
        EventKind.STEP_STARTED: _counter("steps_started", _OF_STEP, "Runs of steps that were allowed to start"),
        EventKind.STEP_COMPLETED: _counter("steps_completed", _OF_STEP, "Steps completed"),
        EventKind.STEP_FAILED: _counter("steps_failed", _OF_STEP, "Steps failed by their tasks or by hand"),
        EventKind.STEP_CANCELLED: _counter("steps_cancelled", _OF_STEP, "Steps cancelled"),
        EventKind.STEP_RETRYING: _counter("steps_retrying", _OF_STEP, "Retries by Celery within an attempt"),
        EventKind.STEP_HANDED_OVER: _counter("steps_handed_over", _OF_STEP, "Runs that replaced themselves by others"),
        EventKind.STEP_RELEASED: _counter(
            "steps_released", _OF_STEP, "Messages given back by a run, or by a worker without the task"
        ),
        EventKind.STEP_RESENT: _counter("steps_resent", _OF_STEP, "Further copies sent because no worker took one"),
        EventKind.STEP_TIMED_OUT: _counter("steps_timed_out", _OF_STEP, "Attempts ended by the check: late or lost"),
        EventKind.STEP_REENQUEUED: _counter("steps_reenqueued", _OF_STEP, "Further attempts sent"),
        EventKind.STEP_GAVE_UP: _counter("steps_given_up", _OF_STEP, "Steps failed because all attempts were used"),
        EventKind.STEP_REOPENED: _counter("steps_reopened", _OF_STEP, "Steps that somebody had tried again"),
        EventKind.INCIDENT_CLOSED: _counter("incidents_closed", _OF_STEP, "Incidents that somebody closed"),
        EventKind.RUN_LOST: _counter("runs_lost", _OF_STEP, "Runs whose worker is gone, or that ended without outcome"),
        EventKind.RUN_REFUSED: _counter("runs_refused", _OF_STEP, "Duplicate and stale runs that were not let start"),
        EventKind.OUTCOME_LATE: _counter("outcomes_late", _OF_STEP, "Outcomes that came too late and changed nothing"),
        EventKind.PROCESS_STARTED: _counter("processes_started", _OF_PROCESS, "Processes started"),
        EventKind.PROCESS_OVERDUE: _counter("processes_became_overdue", _OF_PROCESS, "Processes not done in time"),
        EventKind.PROCESS_COMPLETED: _counter("processes_completed", _OF_PROCESS, "Processes completed"),
        EventKind.PROCESS_FAILED: _counter("processes_failed", _OF_PROCESS, "Processes failed"),
        EventKind.PROCESS_CANCELLED: _counter("processes_cancelled", _OF_PROCESS, "Processes cancelled"),
    }
)

LATENESS = Metric(
    "trellis_reenqueue_lateness_seconds",
    MetricType.HISTOGRAM,
    (),
    "From the moment a clock ran out until the message it asked for was sent",
)
PROCESSES = _gauge("processes", ("process_type", "state"), "Processes in the store")
OVERDUE = _gauge("processes_overdue", _OF_PROCESS, "Unfinished processes whose own deadline has passed")
WITH_INCIDENT = _gauge("processes_with_incident", _OF_PROCESS, "Processes with an incident that nobody has seen to")
DUE = _gauge("clocks_due", (), "Clocks that have run out and that no check has taken up")
CHECK_AGE = _gauge("last_check_age_seconds", (), "Since steps were last looked for that are late; +Inf: never")
CHECK_INTERVAL = _gauge("check_interval_seconds", (), "How often the check is meant to run: trellis_check_interval_ms")
#: What `UNTRACKED` counts: publishing, what Celery's signals of these names tell, outcomes that were kept in
#: vain, and headers without the signature that is asked for.
UNTRACKED_WHAT = (
    "publish",
    "received",
    "prerun",
    "success",
    "failure",
    "retry",
    "revoked",
    "unknown",
    "postrun",
    "kept",
    "signature",
)
UNTRACKED = _counter(
    "untracked", ("what",), "Calls and runs that went on untracked, because the store failed or a header was not signed"
)
OUTBOX = _gauge("outbox_processes", (), "Processes of which other services have not been told everything")
OUTBOX_AGE = _gauge("outbox_age_seconds", (), "Since when the first of them waits")
ARCHIVE = _gauge("archive_backlog_processes", (), "Finished processes that wait for the archive")
ARCHIVE_AGE = _gauge("archive_backlog_age_seconds", (), "Since when the first of them waits")
STORE_UP = _gauge("store_up", (), "1 if the store answered, else 0; then it is the only news")
READ_ERRORS = _counter("exporter_read_errors", ("part",), "Failures of this exporter to read a part of the numbers")
READ_SECONDS = _gauge("exporter_read_duration_seconds", (), "What reading the numbers took")
READ_AGE = _gauge("exporter_read_age_seconds", (), "How old the numbers are")

#: In the order in which they are exported.
ALL: tuple[Metric, ...] = (
    STORE_UP,
    CHECK_AGE,
    CHECK_INTERVAL,
    DUE,
    PROCESSES,
    OVERDUE,
    WITH_INCIDENT,
    *OF_EVENTS.values(),
    LATENESS,
    UNTRACKED,
    OUTBOX,
    OUTBOX_AGE,
    ARCHIVE,
    ARCHIVE_AGE,
    READ_ERRORS,
    READ_SECONDS,
    READ_AGE,
)
