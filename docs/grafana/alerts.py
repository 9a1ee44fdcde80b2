"""The alarms: each says what it means and where it is written what to do."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from trellis_celery.domain.events import EventKind
from trellis_celery.monitoring import metrics
from trellis_celery.monitoring.metrics import Metric

GUIDE = "docs/howto/operating.md"

#: Somebody has to look now, or on the next working day.
CRITICAL, WARNING = "critical", "warning"


@dataclass(frozen=True)
class Alert:
    #: Also the heading of its section in the guide.
    name: str
    expression: str
    severity: str
    #: How long it has to be so.
    lasting: str
    summary: str
    description: str


def value(metric: Metric, *labels: str) -> str:
    """The number for each store, of whichever exporter tells more."""
    return f"max by ({', '.join(('job', *labels))}) ({metric.name})"


def increase(metric: Metric, window: str, *, only: str = "") -> str:
    """How much it rose for each store, over all its labels."""
    one_of_each = f"max by ({', '.join(('job', *metric.labels))}) (increase({metric.name}{only}[{window}]))"
    return f"sum by (job) ({one_of_each})"


_STARTED, _REFUSED, _LOST = (
    metrics.OF_EVENTS[kind] for kind in (EventKind.STEP_STARTED, EventKind.RUN_REFUSED, EventKind.RUN_LOST)
)
_NOT_THE_CHECK = '{part!="check"}'  # that is what TrellisStoreDown tells
_SIGNATURE, _NO_SIGNATURE = '{what="signature"}', '{what!="signature"}'
_LATENESS_RATE = f"max by (job, le) (rate({metrics.LATENESS.name}_bucket[15m]))"

ALERTS = (
    Alert(
        "TrellisCheckLate",
        f"min by (job) ({metrics.CHECK_AGE.name}) > 10 * {value(metrics.CHECK_INTERVAL)}",
        CRITICAL,
        "1m",
        "Nobody looks for late and lost steps",
        "The last check of {{ $labels.job }} was {{ $value | humanizeDuration }} ago (+Inf: there never was one). "
        "Steps that are late or lost are not noticed, not sent again and not given up.",
    ),
    Alert(
        "TrellisStoreDown",
        f"{value(metrics.STORE_UP)} == 0",
        CRITICAL,
        "1m",
        "The store does not answer",
        "The exporter of {{ $labels.job }} gets no answer from the store. Tasks go on untracked, nothing that is lost "
        "is sent again, and no process can be started.",
    ),
    Alert(
        "TrellisExporterDown",
        f"absent({metrics.STORE_UP.name})",
        CRITICAL,
        "2m",
        "There are no metrics of trellis",
        "No exporter is scraped. Every other alarm of trellis is silent until one is.",
    ),
    Alert(
        "TrellisStepGivenUp",
        f"{value(metrics.WITH_INCIDENT, 'process_type')} > 0",
        CRITICAL,
        "0s",
        "A step was given up and waits for a person",
        "{{ $value }} processes of type {{ $labels.process_type }} have a step whose attempts are all used, or that "
        "timed out and must not run twice. Nothing more happens to it by itself.",
    ),
    Alert(
        "TrellisProcessOverdue",
        f"{value(metrics.OVERDUE, 'process_type')} > 0",
        WARNING,
        "5m",
        "Processes are not finished in time",
        "{{ $value }} processes of type {{ $labels.process_type }} are not finished, and past their own deadline.",
    ),
    Alert(
        "TrellisDueGrowing",
        f"max by (job) (min_over_time({metrics.DUE.name}[10m])) > 100",
        WARNING,
        "5m",
        "More clocks run out than checks take up",
        "For ten minutes there were never fewer than {{ $value }} deadlines and leases of {{ $labels.job }} that had "
        "run out and waited for a check.",
    ),
    Alert(
        "TrellisRescueSlow",
        f"histogram_quantile(0.95, {_LATENESS_RATE}) > on (job) 10 * {value(metrics.CHECK_INTERVAL)}",
        WARNING,
        "5m",
        "Late steps are sent again late",
        "One in twenty of the messages that {{ $labels.job }} sent again went out {{ $value | humanizeDuration }} or "
        "more after its clock had run out.",
    ),
    Alert(
        "TrellisWorkersLost",
        f"{increase(_LOST, '15m')} > 5",
        WARNING,
        "0s",
        "Runs are lost with their workers",
        "{{ $value | humanize }} runs of {{ $labels.job }} were lost within 15 minutes: their workers died, were "
        "killed or stood still.",
    ),
    Alert(
        "TrellisDuplicates",
        f"{increase(_REFUSED, '15m')} > 10 and {increase(_REFUSED, '15m')} > 0.1 * {increase(_STARTED, '15m')}",
        WARNING,
        "5m",
        "Unusually many duplicates are refused",
        "{{ $value | humanize }} runs of {{ $labels.job }} were refused within 15 minutes: more than one for ten that "
        "were let start. They did no harm, but something sends messages twice.",
    ),
    Alert(
        "TrellisEventsWaiting",
        f"{value(metrics.OUTBOX_AGE)} > 60",
        WARNING,
        "5m",
        "Other services are not told what happens",
        "What happened to processes of {{ $labels.job }} has been waiting for {{ $value | humanizeDuration }} to be "
        "told to other services.",
    ),
    Alert(
        "TrellisArchiveWaiting",
        f"{value(metrics.ARCHIVE_AGE)} > 900",
        WARNING,
        "10m",
        "Finished processes are not archived",
        "The first of the finished processes of {{ $labels.job }} has been waiting for the archive for "
        "{{ $value | humanizeDuration }}.",
    ),
    Alert(
        "TrellisUntracked",
        f"{increase(metrics.UNTRACKED, '10m', only=_NO_SIGNATURE)} > 0",
        WARNING,
        "0s",
        "Tasks ran without being tracked",
        "{{ $value | humanize }} calls or runs of {{ $labels.job }} went on untracked, as a rule because the store "
        "failed. A step of theirs that is lost may not be noticed.",
    ),
    Alert(
        "TrellisNotSigned",
        f"{increase(metrics.UNTRACKED, '10m', only=_SIGNATURE)} > 0",
        CRITICAL,
        "0s",
        "Messages came with a signature that is not trusted, or none",
        "{{ $value | humanize }} messages of {{ $labels.job }} name a step in a header that no key of their worker has "
        "signed: somebody forged them, or programs have different keys. Their tasks ran, and did no step.",
    ),
    Alert(
        "TrellisNumbersIncomplete",
        f"{increase(metrics.READ_ERRORS, '10m', only=_NOT_THE_CHECK)} > 3",
        WARNING,
        "5m",
        "The exporter cannot read all the numbers",
        "The store of {{ $labels.job }} answers, but not everything that the exporter asks: some metrics are missing, "
        "and the alarms that need them are silent.",
    ),
)


def rules_yaml(*, guide: str = GUIDE) -> str:
    """`guide`: where the operations guide is found."""
    rules = [
        {
            "alert": alert.name,
            "expr": alert.expression,
            "for": alert.lasting,
            "labels": {"severity": alert.severity},
            "annotations": {
                "summary": alert.summary,
                "description": alert.description,
                "runbook_url": f"{guide}#{alert.name.lower()}",
            },
        }
        for alert in ALERTS
    ]
    return "# Made by docs/grafana/make.py.\n" + yaml.safe_dump(
        {"groups": [{"name": "trellis", "rules": rules}]}, sort_keys=False, width=1_000
    )
