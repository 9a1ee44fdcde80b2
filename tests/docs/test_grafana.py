"""The dashboard and the alert rules: made by the script, of metrics that there are, each alarm with a page to go to."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from tests.support.services import missing
from trellis_celery.monitoring.metrics import ALL, MetricType

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "docs/grafana"


def _make() -> Any:
    spec = importlib.util.spec_from_file_location("make", GRAFANA / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for it there
    spec.loader.exec_module(module)
    return module


make = _make()

#: Every name that may stand in an expression, with its labels.
SERIES = {
    name: set(metric.labels) | ({"le"} if name.endswith("_bucket") else set())
    for metric in ALL
    for name in (
        [f"{metric.name}{end}" for end in ("_bucket", "_sum", "_count")]
        if metric.type is MetricType.HISTOGRAM
        else [metric.name]
    )
}
PANELS = {f"{panel.title}, {legend}": query for panel in make.PANELS for legend, query in panel.queries.items()}
ALARMS = {alert.name: alert.expression for alert in make.ALERTS}


@pytest.mark.parametrize("name", sorted(make.files()))
def test_what_is_there_is_what_the_script_makes(name: str) -> None:
    assert (GRAFANA / name).read_text() == make.files()[name]


@pytest.mark.parametrize("expression", [*PANELS.values(), *ALARMS.values()], ids=[*PANELS, *ALARMS])
def test_an_expression_asks_for_what_is_exported(expression: str) -> None:
    query = expression.replace("$__rate_interval", "5m")
    promql_parser.parse(query)

    names = set(re.findall(r"\btrellis_\w+", query))
    grouped = {label.strip() for by in re.findall(r"by \(([^)]+)\)", query) for label in by.split(",")}
    matched = set(re.findall(r"(\w+)=~?\"", query))

    assert names
    assert names <= set(SERIES)
    assert grouped | matched <= set.union(*(SERIES[name] for name in names))


@pytest.mark.parametrize("name", sorted(ALARMS))
def test_every_alarm_says_what_to_do(name: str) -> None:
    page = (ROOT / "docs/howto/operating.md").read_text()

    assert f"\n### {name}\n" in page
    rules = yaml.safe_load((GRAFANA / "alerts.yaml").read_text())["groups"][0]["rules"]
    (rule,) = (rule for rule in rules if rule["alert"] == name)
    assert rule["annotations"]["runbook"] == f"docs/howto/operating.md#{name.lower()}"


def test_prometheus_takes_the_rules() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        missing("there is no promtool on the path: it comes with Prometheus")

    checked = subprocess.run(
        [promtool, "check", "rules", str(GRAFANA / "alerts.yaml")], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(ALARMS)} rules found" in checked.stdout


def test_grafana_knows_the_parts_of_the_dashboard() -> None:
    from grafana_foundation_sdk.models.dashboard import Dashboard

    dashboard = Dashboard.from_json(make.dashboard())

    assert len(dashboard.panels or []) == len(make.PANELS)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in make.dashboard()["panels"]]
    assert len(set(places)) == len(places)


def test_the_page_of_metrics_lists_them_all() -> None:
    page = (ROOT / "docs/reference/metrics.md").read_text()
    rows = re.findall(r"^\| `(trellis_\w+)` \| (\w+) \| ([^|]*) \|", page, re.MULTILINE)

    listed = [(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows]

    assert listed == [(metric.name, metric.type, metric.labels) for metric in ALL]
