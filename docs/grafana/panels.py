"""What the dashboard shows, row by row: each query with the words that stand beside its line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from trellis_celery.domain.events import EventKind
from trellis_celery.monitoring import metrics
from trellis_celery.monitoring.metrics import Metric

#: Which targets: one name for one store, whatever number of exporters it has.
JOB = 'job="$job"'
TYPE = 'process_type=~"$process_type"'


class Kind(Enum):
    """How a panel looks."""

    NUMBER = "stat"
    LINES = "timeseries"
    STACK = "stacked timeseries"


@dataclass(frozen=True)
class Panel:
    title: str
    #: What it tells, and what to do about it.
    description: str
    #: By what is said of it: a text, which may name labels.
    queries: Mapping[str, str]
    unit: str = "short"
    kind: Kind = Kind.LINES
    #: From this value on it is orange, and red.
    orange: float | None = None
    red: float | None = None
    #: What is said instead of certain numbers.
    words: Mapping[int, tuple[str, str]] = field(default_factory=dict)


def value(metric: Metric, *by: str, only: str = "") -> str:
    """The number as it is. Of several exporters, which all say the same, one is taken."""
    return _sum(f"{metric.name}{{{_selector(metric, only)}}}", metric, by)


def per_second(metric: Metric, *by: str) -> str:
    return _sum(f"rate({metric.name}{{{_selector(metric)}}}[$__rate_interval])", metric, by)


def in_time(metric: Metric, window: str, *by: str) -> str:
    """How often within the window, in whole numbers."""
    return f"round({_sum(f'increase({metric.name}{{{_selector(metric)}}}[{window}])', metric, by)})"


def quantile(share: float, metric: Metric) -> str:
    rate = f"rate({metric.name}_bucket{{{JOB}}}[$__rate_interval])"
    return f"histogram_quantile({share}, max by (le) ({rate}))"


def _selector(metric: Metric, only: str = "") -> str:
    return ", ".join(part for part in (JOB, TYPE if "process_type" in metric.labels else "", only) if part)


def _sum(selected: str, metric: Metric, by: tuple[str, ...]) -> str:
    one_of_each = f"max by ({', '.join(metric.labels)}) ({selected})" if metric.labels else f"max({selected})"
    if by == metric.labels:
        return one_of_each
    return f"sum by ({', '.join(by)}) ({one_of_each})" if by else f"sum({one_of_each})"


def _of(kind: EventKind) -> Metric:
    return metrics.OF_EVENTS[kind]


def _rates(by: str, **kinds: EventKind) -> dict[str, str]:
    return {name.replace("_", " "): per_second(_of(kind), *([by] if by else [])) for name, kind in kinds.items()}


ROWS: Mapping[str, tuple[Panel, ...]] = {
    "Is everything looked after?": (
        Panel(
            "Store",
            "Whether the store answers the exporter. While it does not, everything else here is missing.",
            {"": f"max({metrics.STORE_UP.name}{{{JOB}}})"},
            kind=Kind.NUMBER,
            words={0: ("down", "red"), 1: ("up", "green")},
        ),
        Panel(
            "Last check",
            "How long ago steps were last looked for that are late or lost. Without checks nothing is sent again.",
            {"": f"min({metrics.CHECK_AGE.name}{{{JOB}}})"},
            unit="s",
            kind=Kind.NUMBER,
            orange=5,
            red=10,
        ),
        Panel(
            "Processes with an incident",
            "A step was given up, or may not be repeated and timed out. Each waits for a person: "
            "`celery -A proj trellis incidents`.",
            {"": value(metrics.WITH_INCIDENT)},
            kind=Kind.NUMBER,
            red=1,
        ),
        Panel(
            "Overdue processes",
            "Not finished by their own deadline: `celery -A proj trellis list --overdue`.",
            {"": value(metrics.OVERDUE)},
            kind=Kind.NUMBER,
            orange=1,
        ),
        Panel(
            "Clocks due",
            "Deadlines and leases that have run out and that no check has taken up yet. Each check brings it to 0.",
            {"": value(metrics.DUE)},
            kind=Kind.NUMBER,
            orange=100,
            red=1_000,
        ),
        Panel(
            "Untracked in the last hour",
            "Calls and runs that went on without being tracked: the store failed, or a signature was not trusted. "
            "Their steps may be late without anybody noticing.",
            {"": in_time(metrics.UNTRACKED, "1h")},
            kind=Kind.NUMBER,
            red=1,
        ),
    ),
    "Processes": (
        Panel(
            "Unfinished processes",
            "By state. What only grows is stuck: look for the step that is not completed any more.",
            {"{{state}}": value(metrics.PROCESSES, "state", only='state=~"pending|in_progress"')},
            kind=Kind.STACK,
        ),
        Panel(
            "Started and finished",
            "Processes per second.",
            _rates(
                "",
                started=EventKind.PROCESS_STARTED,
                completed=EventKind.PROCESS_COMPLETED,
                failed=EventKind.PROCESS_FAILED,
                cancelled=EventKind.PROCESS_CANCELLED,
            ),
            unit="ops",
        ),
        Panel(
            "Incidents and overdue processes, by type",
            "What waits for a person, and what is not done in time.",
            {
                "{{process_type}}: incident": value(metrics.WITH_INCIDENT, "process_type"),
                "{{process_type}}: overdue": value(metrics.OVERDUE, "process_type"),
            },
        ),
    ),
    "Steps": (
        Panel(
            "Runs started, by step",
            "Per second; of every attempt and every retry by Celery.",
            {"{{process_type}}.{{step}}": per_second(_of(EventKind.STEP_STARTED), "process_type", "step")},
            unit="ops",
        ),
        Panel(
            "How steps ended",
            "Per second. That a step failed by its task's exception is an outcome; that it was given up, an incident.",
            _rates(
                "",
                completed=EventKind.STEP_COMPLETED,
                failed=EventKind.STEP_FAILED,
                cancelled=EventKind.STEP_CANCELLED,
                given_up=EventKind.STEP_GAVE_UP,
            ),
            unit="ops",
        ),
        Panel(
            "Sent again",
            "Per second. Timed out: an attempt was late or lost. Sent as the next attempt follows from that; a further "
            "copy is sent because no worker took the message in time, so the queues are full or nobody reads them.",
            _rates(
                "",
                timed_out=EventKind.STEP_TIMED_OUT,
                sent_as_the_next_attempt=EventKind.STEP_REENQUEUED,
                a_further_copy=EventKind.STEP_RESENT,
                retried_by_Celery=EventKind.STEP_RETRYING,
            ),
            unit="ops",
        ),
        Panel(
            "Lost, refused, too late",
            "Per second. Lost: a worker died. Refused: a second run of an attempt was not let start. Too late: an "
            "outcome that came after another attempt's; often a timeout that is too short. Not published: the broker "
            "did not take a message, and its sender got the error.",
            _rates(
                "",
                lost=EventKind.RUN_LOST,
                refused=EventKind.RUN_REFUSED,
                too_late=EventKind.OUTCOME_LATE,
                given_back=EventKind.STEP_RELEASED,
                not_published=EventKind.STEP_WITHDRAWN,
            ),
            unit="ops",
        ),
        Panel(
            "Timed out, by step",
            "Attempts per second. One step alone: its timeout, or what its task waits for. All at once: the workers.",
            {"{{process_type}}.{{step}}": per_second(_of(EventKind.STEP_TIMED_OUT), "process_type", "step")},
            unit="ops",
        ),
        Panel(
            "Given up, by step",
            "Steps per second whose attempts are all used.",
            {"{{process_type}}.{{step}}": per_second(_of(EventKind.STEP_GAVE_UP), "process_type", "step")},
            unit="ops",
        ),
    ),
    "Recovery": (
        Panel(
            "From a clock that ran out to the message",
            "How long it took until the message was sent that a deadline or a lost worker asked for. It is as long as "
            "checks are apart, or less.",
            {f"{share:.0%}": quantile(share, metrics.LATENESS) for share in (0.5, 0.95, 0.99)},
            unit="s",
        ),
        Panel(
            "Clocks due over time",
            "What the checks do not get done shows here.",
            {"due": value(metrics.DUE)},
        ),
        Panel(
            "Age of the last check",
            "It should stay below three intervals: then a worker makes the check that nobody else makes.",
            {
                "age": f"min({metrics.CHECK_AGE.name}{{{JOB}}})",
                "interval": f"max({metrics.CHECK_INTERVAL.name}{{{JOB}}})",
            },
            unit="s",
        ),
    ),
    "Told elsewhere": (
        Panel(
            "Waiting to be told",
            "Outbox: processes of which other services have not heard everything. Archive: finished processes that are "
            "not in it yet.",
            {"outbox": value(metrics.OUTBOX), "archive": value(metrics.ARCHIVE)},
        ),
        Panel(
            "Waiting since",
            "How long the first of them has been waiting.",
            {"outbox": value(metrics.OUTBOX_AGE), "archive": value(metrics.ARCHIVE_AGE)},
            unit="s",
        ),
    ),
    "Monitoring itself": (
        Panel(
            "Reading the numbers",
            "What one reading of the store takes, and how old the numbers are that a scrape gets.",
            {"duration": value(metrics.READ_SECONDS), "age": value(metrics.READ_AGE)},
            unit="s",
        ),
        Panel(
            "Parts that could not be read",
            "Per second; the exporter's log says why.",
            {"{{part}}": per_second(metrics.READ_ERRORS, "part")},
            unit="ops",
        ),
        Panel(
            "Untracked",
            "Per second, by what went on without being tracked: publishing, what a signal of Celery's tells, what was "
            "kept in vain, or a message whose signature was not trusted.",
            {"{{what}}": per_second(metrics.UNTRACKED, "what")},
            unit="ops",
        ),
    ),
}
