"""Make the Grafana dashboard and the alert rules of Prometheus: `python docs/grafana/make.py`.

`dashboard.json` is imported in Grafana (Dashboards → New → Import); `alerts.yaml` is a file of rules for Prometheus.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
RUNBOOK = "docs/howto/operating.md"
#: Over which rates are taken.
RATE = "[$__rate_interval]"


@dataclass(frozen=True)
class Panel:
    title: str
    what: str
    #: Legend to expression.
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8


def of_steps(name: str) -> str:
    return f'sum by (process_type, step) (rate(trellis_{name}_total{{process_type=~"$process_type"}}{RATE}))'


STEP = "{{process_type}}.{{step}}"

PANELS = (
    Panel("Store", "Does the store answer?", {"": "min(trellis_store_up)"}, kind="stat", width=4),
    Panel("Last check", "Since steps were last looked for that are late", {"": "max(trellis_last_check_age_seconds)"},
          unit="s", kind="stat", width=4),
    Panel("Incidents", "Processes with a step that was given up, which nobody has seen to",
          {"": 'sum(trellis_processes_with_incident{process_type=~"$process_type"})'}, kind="stat", width=4),
    Panel("Overdue", "Unfinished processes whose own deadline has passed",
          {"": 'sum(trellis_processes_overdue{process_type=~"$process_type"})'}, kind="stat", width=4),
    Panel("Due", "Clocks that have run out and that no check has taken up", {"": "max(trellis_clocks_due)"},
          kind="stat", width=4),
    Panel("Live", "Processes that are not finished",
          {"": 'sum(trellis_processes{process_type=~"$process_type", state=~"pending|in_progress"})'},
          kind="stat", width=4),
    Panel("Processes", "By state",
          {"{{state}}": 'sum by (state) (trellis_processes{process_type=~"$process_type"})'}),
    Panel("Steps completed a second", "By step", {STEP: of_steps("steps_completed")}, unit="ops"),
    Panel("Steps failed a second", "By their tasks, by hand, or given up",
          {f"{STEP} failed": of_steps("steps_failed"), f"{STEP} given up": of_steps("steps_given_up")}, unit="ops"),
    Panel("Late and lost a second", "Attempts that timed out, and those that were sent again",
          {f"{STEP} timed out": of_steps("steps_timed_out"), f"{STEP} sent again": of_steps("steps_reenqueued")},
          unit="ops"),
    Panel("Deadline to message", "How long it takes from a deadline until the next attempt is sent",
          {f"p{share}": f"histogram_quantile(0.{share}, "
                        f"sum by (le) (rate(trellis_reenqueue_lateness_seconds_bucket{RATE})))"
           for share in ("50", "99")}, unit="s"),
    Panel("Refused and late a second", "Second runs that were not let in, and outcomes that came too late",
          {f"{STEP} refused": of_steps("runs_refused"), f"{STEP} late": of_steps("outcomes_late")}, unit="ops"),
    Panel("Waiting for others", "Events for the exchange, finished processes for the archive",
          {"exchange": "max(trellis_outbox_processes)", "archive": "max(trellis_archive_backlog_processes)"}),
    Panel("Waiting since", "The first of them",
          {"exchange": "max(trellis_outbox_age_seconds)", "archive": "max(trellis_archive_backlog_age_seconds)"},
          unit="s"),
    Panel("Untracked a second", "Calls and runs that went on untracked because the store failed",
          {"{{what}}": f"sum by (what) (rate(trellis_untracked_total{RATE}))"}, unit="ops"),
)  # fmt: skip


@dataclass(frozen=True)
class Alert:
    name: str
    expression: str
    for_: str
    severity: str
    summary: str

    @property
    def rule(self) -> dict[str, Any]:
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": self.for_,
            "labels": {"severity": self.severity},
            "annotations": {"summary": self.summary, "runbook": f"{RUNBOOK}#{self.name.lower()}"},
        }


ALERTS = (
    Alert("TrellisExporterDown", "absent(trellis_store_up)", "2m", "warning", "Nobody exports the metrics of trellis."),
    Alert("TrellisStoreDown", "min(trellis_store_up) == 0", "1m", "critical",
          "The store does not answer: tasks run untracked, and nothing that is lost is noticed."),
    Alert("TrellisCheckLate",
          "max(trellis_last_check_age_seconds) > 5 * max(trellis_check_interval_seconds) + 10", "1m", "critical",
          "Nobody looks for late and lost steps: they are not sent again."),
    Alert("TrellisStepGivenUp", "sum by (process_type) (trellis_processes_with_incident) > 0", "0m", "warning",
          "{{ $value }} processes of type {{ $labels.process_type }} have a step that was given up."),
    Alert("TrellisProcessOverdue", "sum by (process_type) (trellis_processes_overdue) > 0", "5m", "warning",
          "{{ $value }} processes of type {{ $labels.process_type }} are not finished and past their deadline."),
    Alert("TrellisDueGrowing", "min_over_time(trellis_clocks_due[5m]) > 1000", "5m", "warning",
          "{{ $value }} clocks have run out, and the checks do not keep up."),
    Alert("TrellisRescueSlow",
          "histogram_quantile(0.99, sum by (le) (rate(trellis_reenqueue_lateness_seconds_bucket[10m]))) > 30", "10m",
          "warning", "Late steps are sent again only {{ $value | humanizeDuration }} after their deadline."),
    Alert("TrellisWorkersLost", "sum(rate(trellis_steps_timed_out_total[10m])) > 0.1", "10m", "warning",
          "{{ $value | humanize }} attempts a second time out or lose their worker."),
    Alert("TrellisEventsWaiting", "max(trellis_outbox_age_seconds) > 300", "5m", "warning",
          "Other services have not been told of events for {{ $value | humanizeDuration }}."),
    Alert("TrellisArchiveWaiting", "max(trellis_archive_backlog_age_seconds) > 3600", "10m", "warning",
          "Finished processes have waited for the archive for {{ $value | humanizeDuration }}."),
    Alert("TrellisDuplicates", "sum by (process_type, step) (rate(trellis_runs_refused_total[15m])) > 1", "15m",
          "warning",
          "{{ $value | humanize }} runs of {{ $labels.process_type }}.{{ $labels.step }} are refused a second."),
    Alert("TrellisUntracked", "sum(rate(trellis_untracked_total[10m])) > 0", "5m", "warning",
          "Tasks run untracked: the store failed when it was needed."),
)  # fmt: skip


def dashboard() -> dict[str, Any]:
    return {
        "title": "Trellis: processes of Celery tasks",
        "uid": "trellis-celery",
        "tags": ["celery", "trellis"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_data_source(), _process_types()]},
        "panels": list(_placed()),
    }


def _data_source() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _process_types() -> dict[str, Any]:
    return {
        "name": "process_type",
        "label": "Process type",
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "$datasource"},
        "query": "label_values(trellis_processes, process_type)",
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _placed() -> Any:
    x = y = 0
    for number, panel in enumerate(PANELS, start=1):
        height = 4 if panel.kind == "stat" else 8
        if x + panel.width > 24:
            x, y = 0, y + (4 if PANELS[number - 2].kind == "stat" else 8)
        yield {
            "id": number,
            "title": panel.title,
            "description": panel.what,
            "type": panel.kind,
            "datasource": {"type": "prometheus", "uid": "$datasource"},
            "gridPos": {"h": height, "w": panel.width, "x": x, "y": y},
            "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
            "targets": [
                {"refId": chr(ord("A") + place), "expr": expression, "legendFormat": legend}
                for place, (legend, expression) in enumerate(panel.queries.items())
            ],
        }
        x += panel.width


def alerts() -> dict[str, Any]:
    return {"groups": [{"name": "trellis", "rules": [alert.rule for alert in ALERTS]}]}


def files() -> dict[str, str]:
    """What there is to be, by name."""
    return {
        "dashboard.json": json.dumps(dashboard(), indent=2) + "\n",
        "alerts.yaml": "# Made by make.py.\n" + yaml.safe_dump(alerts(), sort_keys=False, width=1_000),
    }


if __name__ == "__main__":
    for name, content in files().items():
        (HERE / name).write_text(content)
        print(f"written: {name}")
