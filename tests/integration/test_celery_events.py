"""Events of trellis among Celery's: from prefork workers, over real brokers, and with the broker away."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from tests.support.cluster import Cluster
from tests.support.listener import Listener
from tests.support.programs import Program, free_port
from tests.support.proxy import Proxy
from tests.support.waiting import eventually
from trellis_celery import ProcessHandle

pytestmark = pytest.mark.integration

WRITE_BROKER = "TRELLIS_TEST_APP_WRITE_BROKER"
#: A worker that nothing holds up ends in a second; a machine that is busy adds to that.
STOPPED_WITHIN_S = 10


def start(cluster: Cluster, process_type: str = "Parcel") -> ProcessHandle:
    process: ProcessHandle = cluster.trellis.start_process(
        getattr(cluster.module, process_type), tenant_id="tests", aggregate_type="Told", aggregate_id=uuid4().hex
    )
    return process


def send(cluster: Cluster, task: str, *args: str, process_type: str = "Parcel") -> ProcessHandle:
    with start(cluster, process_type) as process:
        getattr(cluster.module, task).delay(*args)
    return process


def wait_until_finished(process: ProcessHandle) -> None:
    eventually(lambda: process.refresh().state.is_terminal, what="the process finished")


@pytest.fixture(scope="module", params=["valkey", "rabbitmq"])
def telling(start_cluster: Callable[..., Cluster], request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A worker whose children end after each task."""
    broker_url = "" if request.param == "valkey" else request.getfixturevalue("rabbitmq_url")
    cluster = start_cluster("tests.support.apps.telling", broker_url=broker_url)
    cluster.worker("-E", "--max-tasks-per-child", "1", name="teller")
    yield cluster
    cluster.close()


@pytest.fixture
def listener(telling: Cluster) -> Iterator[Listener]:
    with Listener(telling.app) as listener:
        yield listener


class TestOverABroker:
    def test_all_that_happens_to_a_process_is_told_whichever_program_wrote_it(
        self, telling: Cluster, listener: Listener
    ) -> None:
        process = send(telling, "pack")

        completed = listener.wait_for(process.id, "trellis-step-completed")
        listener.wait_for(process.id, "trellis-process-completed")

        told = ["trellis-" + event.kind.replace("_", "-") for event in process.history()]
        assert sorted(listener.types_of(process.id)) == sorted(told)
        (written,) = [event for event in process.history() if event.kind == "step_completed"]
        assert (completed["step"], completed["attempt"], completed["by"]) == ("pack", 1, "")
        assert completed["hostname"] == "teller@test"
        assert completed["occurred_at_ms"] == written.occurred_at_ms

    def test_what_the_check_does_is_told_by_the_workers_own_process(self, telling: Cluster, listener: Listener) -> None:
        process = send(telling, "hang", process_type="Hasty")

        timed_out = listener.wait_for(process.id, "trellis-step-timed-out")
        listener.wait_for(process.id, "trellis-step-gave-up")

        assert (timed_out["detail"], timed_out["hostname"]) == ("no outcome after 1000 ms", "teller@test")

    def test_nothing_is_lost_when_a_child_ends_after_each_task(self, telling: Cluster, listener: Listener) -> None:
        processes = [send(telling, "pack") for _ in range(8)]

        for process in processes:
            listener.wait_for(process.id, "trellis-step-completed")
            listener.wait_for(process.id, "trellis-process-completed")

    def test_no_arguments_and_no_endless_errors_are_told(self, telling: Cluster, listener: Listener) -> None:
        process = send(telling, "drop", "canary-4711")

        failed = listener.wait_for(process.id, "trellis-step-failed")
        listener.wait_for(process.id, "trellis-process-failed")

        assert "canary-4711" not in json.dumps(listener.of(process.id))
        assert failed["detail"].startswith("ValueError: xxx")
        assert len(failed["detail"]) == 2_000

    def test_programs_that_follow_workers_and_tasks_see_no_more_of_either(
        self, telling: Cluster, listener: Listener
    ) -> None:
        process = send(telling, "pack")
        listener.wait_for(process.id, "trellis-process-completed")
        eventually(lambda: any(event["type"] == "task-succeeded" for event in listener.heard))

        with_ours, without = telling.app.events.State(), telling.app.events.State()
        for event in listener.heard:
            with_ours.event(dict(event))
            if not event["type"].startswith("trellis-"):
                without.event(dict(event))

        assert set(with_ours.workers) == set(without.workers) == {"teller@test"}
        assert {task.uuid: task.state for task in with_ours.tasks.values()} == {
            task.uuid: task.state for task in without.tasks.values()
        }
        assert len(with_ours.tasks) > 0


@pytest.mark.parametrize("pool", ["threads", "gevent", "solo"])
def test_other_pools_tell_as_much_and_end_as_soon(start_cluster: Callable[..., Cluster], pool: str) -> None:
    cluster = start_cluster("tests.support.apps.telling")
    worker = cluster.worker(name=pool, pool=pool)
    with Listener(cluster.app) as listener:
        process = send(cluster, "pack")

        completed = listener.wait_for(process.id, "trellis-step-completed")
        listener.wait_for(process.id, "trellis-process-completed")

    assert completed["hostname"] == f"{pool}@test"
    assert seconds_to_stop(worker) < STOPPED_WITHIN_S
    cluster.close()


def seconds_to_stop(worker: Program) -> float:
    """How long a warm shutdown takes."""
    started_s = time.monotonic()
    worker.stop(within_s=30)
    return time.monotonic() - started_s


class TestWithoutABroker:
    """The worker reads its tasks from one broker and sends what it sends to another, which is in trouble."""

    @pytest.fixture
    def cluster(self, start_cluster: Callable[..., Cluster]) -> Iterator[Cluster]:
        cluster = start_cluster("tests.support.apps.telling")
        yield cluster
        cluster.close()

    def run_ten(self, cluster: Cluster) -> float:
        """How long ten tasks take one after the other, s."""
        started_s = time.monotonic()
        for _ in range(10):
            wait_until_finished(send(cluster, "pack"))
        return time.monotonic() - started_s

    def test_a_broker_that_is_away_delays_neither_tasks_nor_the_end_of_the_worker(self, cluster: Cluster) -> None:
        nobody = f"redis://127.0.0.1:{free_port()}/0"
        worker = cluster.worker("--without-heartbeat", env={WRITE_BROKER: nobody})

        assert self.run_ten(cluster) < 5
        assert seconds_to_stop(worker) < STOPPED_WITHIN_S
        assert worker.output.count("not_sent") <= 3, "each process says it once"

    def test_a_broker_that_hangs_delays_neither_tasks_nor_the_end_of_the_worker(
        self, cluster: Cluster, valkey_server: str
    ) -> None:
        with Proxy(int(valkey_server.rpartition(":")[2])) as proxy:
            worker = cluster.worker("--without-heartbeat", env={WRITE_BROKER: f"redis://127.0.0.1:{proxy.port}/0"})
            wait_until_finished(send(cluster, "pack"))
            proxy.is_blackhole = True

            assert self.run_ten(cluster) < 5
            assert seconds_to_stop(worker) < STOPPED_WITHIN_S

    def test_a_broker_that_comes_back_hears_what_waited(self, cluster: Cluster, valkey_server: str) -> None:
        with Proxy(int(valkey_server.rpartition(":")[2])) as proxy:
            proxy.is_blackhole = True
            cluster.worker("--without-heartbeat", env={WRITE_BROKER: f"redis://127.0.0.1:{proxy.port}/0"})
            with Listener(cluster.app) as listener:
                process = send(cluster, "pack")
                wait_until_finished(process)
                assert "trellis-step-completed" not in listener.types_of(process.id)

                proxy.is_blackhole = False

                listener.wait_for(process.id, "trellis-step-started")
                listener.wait_for(process.id, "trellis-process-completed")
            cluster.close()

    @pytest.mark.parametrize("server", ["valkey", "rabbitmq"])
    def test_a_connection_that_was_lost_while_it_was_idle_costs_no_event(
        self, start_cluster: Callable[..., Cluster], request: pytest.FixtureRequest, server: str
    ) -> None:
        url = "" if server == "valkey" else request.getfixturevalue("rabbitmq_url")
        cluster = start_cluster("tests.support.apps.telling", broker_url=url)
        port = re.findall(r":(\d+)/", cluster.broker_url)[0]
        with Proxy(int(port)) as proxy, Listener(cluster.app) as listener:
            cluster.app.conf.update(broker_write_url=cluster.broker_url.replace(port, str(proxy.port)))
            process = start(cluster)
            listener.wait_for(process.id, "trellis-process-started")

            assert proxy.cut() > 0
            process.complete_step("pack")

            listener.wait_for(process.id, "trellis-step-completed")
            listener.wait_for(process.id, "trellis-process-completed")

    def test_a_program_that_is_no_worker_is_delayed_neither(self, cluster: Cluster) -> None:
        nobody = f"redis://127.0.0.1:{free_port()}/0"
        cluster.app.conf.update(broker_url=nobody, broker_write_url=nobody)

        started_s = time.monotonic()
        for _ in range(20):
            start(cluster).complete_step("pack")

        assert time.monotonic() - started_s < 2
