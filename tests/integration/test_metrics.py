"""A real Prometheus scrapes a real exporter: the dashboard shows what happened, and the alarm rings."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen
from uuid import uuid4

import pytest
import yaml

from tests.docs.test_grafana import GRAFANA, PANELS
from tests.support.cluster import ROOT, Cluster
from tests.support.programs import Program, free_port, is_listening
from tests.support.services import missing
from tests.support.waiting import eventually
from trellis_celery import ProcessHandle

pytestmark = pytest.mark.integration

APP = "tests.support.apps.alarming"


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster]) -> Cluster:
    cluster = start_cluster(APP)
    cluster.worker("-B", "-s", "schedule", concurrency=4)
    return cluster


@pytest.fixture(scope="module")
def given_up(cluster: Cluster) -> ProcessHandle:
    """Beside a process that was completed: one whose step timed out, was sent again, and is given up."""
    with _started(cluster, cluster.module.Quick):
        cluster.module.work.delay()
    with _started(cluster, cluster.module.Doomed) as doomed:
        cluster.module.hang.delay()
    return doomed


def _started(cluster: Cluster, process_type: Any) -> ProcessHandle:
    handle: ProcessHandle = cluster.trellis.start_process(
        process_type, tenant_id="shop", aggregate_type="Order", aggregate_id=uuid4().hex
    )
    return handle


@pytest.fixture(scope="module")
def exporter(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "celery", "-A", APP, "trellis", "exporter", "--port", str(port)]
    program = Program(
        command, name="exporter", directory=tmp_path_factory.mktemp("exporter"), env={"PYTHONPATH": str(ROOT)}
    )
    program.wait_until(lambda: is_listening(port))
    yield port
    program.stop()
    assert "Traceback" not in program.output


class Prometheus:
    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, what: str, **query: str) -> Any:
        with urlopen(f"{self._url}/{what}?{urlencode(query)}", timeout=10) as answer:
            told = json.load(answer)
        assert told["status"] == "success"
        return told["data"]

    def values(self, expression: str) -> dict[str, float]:
        """By process type, or by nothing; what is 0 is left out."""
        found = self.ask("query", query=expression)["result"]
        values = {one["metric"].get("process_type", ""): float(one["value"][1]) for one in found}
        return {name: value for name, value in values.items() if value}


@pytest.fixture(scope="module")
def prometheus(exporter: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    binary = shutil.which("prometheus")
    if binary is None:
        missing("there is no prometheus on the path")
    directory, port = tmp_path_factory.mktemp("prometheus"), free_port()
    scrape = {"job_name": "trellis", "static_configs": [{"targets": [f"127.0.0.1:{exporter}"]}]}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(GRAFANA / "alerts.yaml")],
        "scrape_configs": [scrape],
    }
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
    program = Program(
        [binary, f"--config.file={directory / 'prometheus.yaml'}", f"--storage.tsdb.path={directory / 'data'}",
         f"--web.listen-address=127.0.0.1:{port}"],
        name="prometheus",
        directory=directory,
    )  # fmt: skip
    program.wait_until(lambda: is_listening(port))
    yield Prometheus(port)
    program.kill()


def test_the_numbers_tell_what_happened(prometheus: Prometheus, given_up: ProcessHandle) -> None:
    eventually(
        lambda: prometheus.values("trellis_steps_given_up_total").get("Doomed") == 1, within_s=40, what="given up"
    )

    assert prometheus.values("trellis_steps_completed_total") == {"Quick": 1}
    assert prometheus.values("trellis_steps_timed_out_total") == {"Doomed": 2}
    assert prometheus.values("trellis_processes_with_incident") == {"Doomed": 1}
    assert prometheus.values("trellis_store_up") == {"": 1}
    assert prometheus.values("trellis_last_check_age_seconds")[""] < 10
    assert prometheus.values("trellis_reenqueue_lateness_seconds_count")[""] >= 1


@pytest.mark.parametrize("panel", sorted(PANELS))
def test_every_panel_of_the_dashboard_gets_an_answer(prometheus: Prometheus, panel: str) -> None:
    expression = PANELS[panel].replace("$process_type", ".*").replace("$__rate_interval", "1m")

    assert prometheus.ask("query", query=expression)["resultType"] == "vector"


def test_the_alarm_rings_for_a_step_that_was_given_up(prometheus: Prometheus, given_up: ProcessHandle) -> None:
    def ringing() -> set[str]:
        return {alert["labels"]["alertname"] for alert in prometheus.ask("alerts")["alerts"]}

    eventually(lambda: "TrellisStepGivenUp" in ringing(), within_s=40, what="the alarm rings")

    assert not ringing() & {"TrellisStoreDown", "TrellisExporterDown"}


def test_no_label_has_an_id(prometheus: Prometheus, given_up: ProcessHandle) -> None:
    values = {
        value
        for label in prometheus.ask("labels")
        for value in prometheus.ask(f"label/{label}/values")
        if label not in ("instance", "job", "__name__")
    }

    assert "Doomed" in values
    assert not values & {given_up.id, "shop", given_up.process.aggregate_id}
