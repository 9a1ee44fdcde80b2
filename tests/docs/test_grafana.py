"""The dashboard and the alert rules: made by the script, of metrics that there are, each alarm with a page to go to."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from docs.grafana import make
from docs.grafana.alerts import ALERTS
from docs.grafana.panels import ROWS
from tests.support.services import missing
from trellis_celery.monitoring.metrics import ALL, UNTRACKED_WHAT, MetricType

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "docs/grafana"
GUIDE = (ROOT / "docs/howto/operating.md").read_text()

#: Every name that may stand in an expression, with its labels; Prometheus adds those of the target.
SERIES = {
    name: {*metric.labels, "job", "instance"} | ({"le"} if name.endswith("_bucket") else set())
    for metric in ALL
    for name in (
        [f"{metric.name}{end}" for end in ("_bucket", "_sum", "_count")]
        if metric.type is MetricType.HISTOGRAM
        else [metric.name]
    )
}
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboard.json").read_text())
#: The expressions in the dashboard, by panel and letter.
PANELS: dict[str, str] = {
    f"{panel['title']}, {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", [])
}
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for rule in yaml.safe_load((GRAFANA / "alerts.yaml").read_text())["groups"][0]["rules"]
}


def parsed(expression: str) -> promql_parser.Expr:
    for variable, value in {"$__rate_interval": "5m", "$job": "trellis", "$process_type": ".*"}.items():
        expression = expression.replace(variable, value)
    return promql_parser.parse(expression)


def parts(expression: Any) -> Iterator[Any]:
    """The expression and all that is within it."""
    yield expression
    match expression:
        case promql_parser.AggregateExpr() | promql_parser.ParenExpr() | promql_parser.UnaryExpr():
            within = [expression.expr]
        case promql_parser.BinaryExpr():
            within = [expression.lhs, expression.rhs]
        case promql_parser.Call():
            within = list(expression.args)
        case promql_parser.MatrixSelector():
            within = [expression.vector_selector]
        case _:
            within = []
    for one in within:
        yield from parts(one)


def labels_named(part: Any) -> set[str]:
    if isinstance(part, promql_parser.VectorSelector):
        return {matcher.name for matcher in part.matchers.matchers}
    modifier = getattr(part, "modifier", None)
    if isinstance(part, promql_parser.BinaryExpr):
        modifier = modifier and modifier.matching
    return set(modifier.labels) if modifier else set()


@pytest.mark.parametrize("name", sorted(make.files()))
def test_what_is_there_is_what_the_script_makes(name: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "docs.grafana.make", "--to", tmp_path], cwd=ROOT, check=True, timeout=60)

    assert (GRAFANA / name).read_text() == (tmp_path / name).read_text()


@pytest.mark.parametrize(
    "expression", [*PANELS.values(), *(rule["expr"] for rule in RULES.values())], ids=[*PANELS, *RULES]
)
def test_an_expression_asks_for_what_is_exported(expression: str) -> None:
    found = list(parts(parsed(expression)))

    names = {part.name for part in found if isinstance(part, promql_parser.VectorSelector)}
    assert names
    assert names <= set(SERIES)
    assert set().union(*map(labels_named, found)) <= set().union(*(SERIES[name] for name in names))


@pytest.mark.parametrize("expression", PANELS.values(), ids=PANELS)
def test_a_panel_counts_nothing_twice_that_two_exporters_tell(expression: str) -> None:
    """Next to each series stands what takes one of the targets: every sum is over that."""
    for part in parts(parsed(expression)):
        if isinstance(part, promql_parser.AggregateExpr) and str(part.op) in ("sum", "TokenType(sum)"):
            assert isinstance(part.expr, promql_parser.AggregateExpr), expression
            assert str(part.expr.op) == "max", expression


def test_every_panel_is_of_one_store() -> None:
    for name, expression in PANELS.items():
        for part in parts(parsed(expression)):
            if isinstance(part, promql_parser.VectorSelector):
                assert "job" in labels_named(part), name


def test_everything_that_is_measured_is_shown() -> None:
    shown = " ".join(PANELS.values())

    not_shown = {metric.name for metric in ALL if not re.search(rf"\b{metric.name}(_bucket)?\b", shown)}

    assert not_shown == {
        "trellis_steps_queued_total",
        "trellis_steps_handed_over_total",
        "trellis_steps_reopened_total",
        "trellis_incidents_closed_total",
        "trellis_processes_became_overdue_total",
    }


@pytest.mark.parametrize("name", RULES)
def test_every_alarm_says_what_it_means_and_where_it_is_written_what_to_do(name: str) -> None:
    rule = RULES[name]

    assert rule["annotations"]["runbook_url"] == f"docs/howto/operating.md#{name.lower()}"
    assert f"\n### {name}\n" in GUIDE
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith(".")


def test_the_guide_has_a_section_for_each_alarm_and_no_others() -> None:
    assert re.findall(r"^### (\w+)$", GUIDE, re.MULTILINE) == list(RULES) == [alert.name for alert in ALERTS]


def test_alarms_may_say_that_the_guide_is_elsewhere() -> None:
    rules = yaml.safe_load(make.files(guide="https://example.org/operating")["alerts.yaml"])["groups"][0]["rules"]

    assert rules[0]["annotations"]["runbook_url"] == f"https://example.org/operating#{rules[0]['alert'].lower()}"


@pytest.mark.parametrize(
    "arguments", [["check", "rules", "docs/grafana/alerts.yaml"], ["test", "rules", "tests/docs/alerts_test.yaml"]]
)
def test_prometheus_takes_the_rules_and_they_ring_when_they_should(arguments: list[str]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        missing("there is no promtool on the path: it comes with Prometheus")

    done = subprocess.run([promtool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_each_alarm_is_seen_to_ring_and_to_be_silent() -> None:
    tests = yaml.safe_load((ROOT / "tests/docs/alerts_test.yaml").read_text())["tests"]
    seen: dict[str, set[bool]] = {}
    for one in (alert for test in tests for alert in test["alert_rule_test"]):
        seen.setdefault(one["alertname"], set()).add(bool(one.get("exp_alerts")))

    assert seen == {name: {True, False} for name in RULES}


def test_grafana_knows_the_parts_of_the_dashboard() -> None:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    read = Dashboard.from_json(DASHBOARD)

    assert json.loads(json.dumps(read, cls=JSONEncoder)) == DASHBOARD
    assert [panel.title for panel in read.panels or [] if panel.type_val != "row"] == [
        panel.title for panels in ROWS.values() for panel in panels
    ]


def test_no_panel_covers_another_or_has_its_id_or_title() -> None:
    panels = DASHBOARD["panels"]

    cells = [
        {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        for place in (panel["gridPos"] for panel in panels)
    ]

    assert not any(one & other for one, other in combinations(cells, 2))
    assert max(x for each in cells for x, _ in each) == 23
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)


def test_the_page_of_metrics_lists_them_all() -> None:
    page = (ROOT / "docs/reference/metrics.md").read_text()
    rows = re.findall(r"^\| `(trellis_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", page, re.MULTILINE)

    listed = [(name, kind, tuple(re.findall(r"`(\w+)`", labels)), what) for name, kind, labels, what in rows]

    assert listed == [(metric.name, metric.type, metric.labels, metric.help) for metric in ALL]


def test_the_page_of_metrics_says_of_everything_that_goes_untracked_what_it_is() -> None:
    page = (ROOT / "docs/reference/metrics.md").read_text()
    section = page[page.index("\n## What went on untracked\n") :].partition("\n## How")[0]

    listed = [
        name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    ]

    assert sorted(set(listed) - {"what"}) == sorted(UNTRACKED_WHAT)


def test_an_untracked_signature_has_an_alarm_of_its_own_that_does_not_blame_the_store() -> None:
    assert 'what!="signature"' in RULES["TrellisUntracked"]["expr"]
    assert 'what="signature"' in RULES["TrellisNotSigned"]["expr"]
    assert "store" not in RULES["TrellisNotSigned"]["annotations"]["description"]
