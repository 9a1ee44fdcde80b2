"""A real Prometheus scrapes real exporters: the dashboard shows what happened, and the alarm rings."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from tests.docs.test_grafana import PANELS
from tests.support.cluster import Cluster
from tests.support.prometheus import Exporter, Prometheus, prometheus
from tests.support.waiting import eventually
from trellis_celery import ProcessHandle
from trellis_celery.bootstrap import schemas

pytestmark = pytest.mark.integration

APP = "tests.support.apps.alarming"


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """With an archive and an exchange, so that there is something to say of them."""
    archive = tmp_path_factory.mktemp("archive") / "history.db"
    env = {"ALARMING_HISTORY_URL": f"sqlite:///{archive}", "ALARMING_EVENTS_EXCHANGE": "alarming-events"}
    with pytest.MonkeyPatch.context() as environment:
        for name, value in env.items():
            environment.setenv(name, value)
        cluster = start_cluster(APP, env=env)
        for _, schema in schemas(cluster.trellis.settings):
            if schema is not None:
                schema.migrate(print)
        cluster.worker("-B", "-s", "schedule", concurrency=4)
        yield cluster


@pytest.fixture(scope="module")
def given_up(cluster: Cluster) -> list[ProcessHandle]:
    """Beside a process that was completed: one whose workers were all killed, and one whose attempts were too late."""
    with _started(cluster, "Quick"):
        cluster.module.work.delay()
    with _started(cluster, "Doomed") as doomed:
        cluster.module.hang.delay()
    with _started(cluster, "Killed") as killed:
        cluster.module.wait.apply_async(queue="mortal")
    for attempt in (1, 2):
        victim = cluster.worker("-Q", "mortal", name=f"mortal{attempt}", concurrency=1)
        cluster.diary.wait_for("waits", entries=attempt)
        victim.signal_all(signal.SIGKILL)
    for one in (doomed, killed):
        eventually(lambda one=one: one.refresh().process.has_incident, within_s=40, what=f"{one.id} given up")
    return [doomed, killed]


def _started(cluster: Cluster, process_type: str) -> ProcessHandle:
    handle: ProcessHandle = cluster.trellis.start_process(
        getattr(cluster.module, process_type), tenant_id="shop", aggregate_type="Order", aggregate_id=uuid4().hex
    )
    return handle


@pytest.fixture(scope="module")
def scraped(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Two exporters of one store: everything is told twice, and must be counted once."""
    exporters = [Exporter(APP, directory=tmp_path_factory.mktemp("exporter")) for _ in range(2)]
    with prometheus(tmp_path_factory.mktemp("prometheus"), *(exporter.port() for exporter in exporters)) as found:
        yield found
    for exporter in exporters:
        exporter.stop()
        assert "Traceback" not in exporter.output


def test_the_numbers_tell_what_happened(scraped: Prometheus, given_up: list[ProcessHandle]) -> None:
    def told() -> bool:
        return scraped.values("trellis_processes_with_incident") == {"Doomed": 1, "Killed": 1}

    eventually(told, within_s=20, what="both incidents scraped")

    assert scraped.values("trellis_steps_given_up_total") == {"Doomed": 1, "Killed": 1}
    assert scraped.values("trellis_steps_completed_total") == {"Quick": 1}
    assert scraped.values("trellis_steps_timed_out_total") == {"Doomed": 2, "Killed": 2}
    assert scraped.values("trellis_runs_lost_total") == {"Killed": 2}
    assert scraped.values("trellis_steps_reenqueued_total") == {"Doomed": 1, "Killed": 1}
    assert scraped.values("trellis_store_up") == {"": 1}
    assert scraped.values("trellis_last_check_age_seconds")[""] < 10
    assert scraped.values("trellis_reenqueue_lateness_seconds_count")[""] >= 2


@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_of_the_dashboard_has_data(scraped: Prometheus, given_up: list[ProcessHandle], panel: str) -> None:
    expression = PANELS[panel]
    for variable, value in {"$job": "trellis", "$process_type": ".*", "$__rate_interval": "30s"}.items():
        expression = expression.replace(variable, value)

    assert eventually(lambda: scraped.query(expression), what=f"data of {panel}: {expression}")


def test_what_two_exporters_tell_is_counted_once(scraped: Prometheus, given_up: list[ProcessHandle]) -> None:
    expression = PANELS["Processes with an incident, A"].replace("$job", "trellis").replace("$process_type", ".*")

    assert len(scraped.query("trellis_store_up")) == 2
    assert scraped.values(expression) == {"": 2}


def test_the_alarm_rings_for_steps_that_were_given_up_and_stops_when_somebody_has_seen_to_them(
    scraped: Prometheus, given_up: list[ProcessHandle]
) -> None:
    def ringing_for() -> set[str]:
        labels = [alert["labels"] for alert in scraped.ask("alerts")["alerts"] if alert["state"] == "firing"]
        return {each["process_type"] for each in labels if each["alertname"] == "TrellisStepGivenUp"}

    eventually(lambda: ringing_for() == {"Doomed", "Killed"}, within_s=20, what="the alarm rings for both")
    assert not scraped.alarms() & {"TrellisStoreDown", "TrellisExporterDown", "TrellisCheckLate"}

    for process in given_up:
        for step in process.steps:
            process.close_incident(step, by="ann", note="seen")

    eventually(lambda: "TrellisStepGivenUp" not in scraped.alarms(), within_s=20, what="the alarm stops")


def test_no_label_has_an_id(scraped: Prometheus, given_up: list[ProcessHandle]) -> None:
    values = {
        value
        for label in scraped.ask("labels")
        for value in scraped.ask(f"label/{label}/values")
        if label not in ("instance", "job", "__name__")
    }

    assert "Doomed" in values
    for process in given_up:
        assert not values & {process.id, "shop", process.process.aggregate_id}
