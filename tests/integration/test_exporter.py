"""`celery -A proj trellis exporter` as an operator meets it: it starts, answers whatever the store does, and ends."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.cluster import ROOT, STORE_DB, Cluster
from tests.support.prometheus import Exporter
from tests.support.proxy import Proxy
from trellis_celery import Trellis

pytestmark = pytest.mark.integration

APP = "tests.support.apps.alarming"

StartExporter = Callable[..., Exporter]


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., Cluster]) -> Cluster:
    return start_cluster(APP)


@pytest.fixture
def start(cluster: Cluster, tmp_path: Path) -> Iterator[StartExporter]:
    with ExitStack() as stack:

        def start(*options: str, **env: str) -> Exporter:
            exporter = Exporter(APP, *options, directory=tmp_path, env=env)
            stack.callback(exporter.kill)
            return exporter

        yield start


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Proxy]:
    with Proxy(urlsplit(cluster.redis_url).port or 0) as proxy:
        yield proxy


def through(proxy: Proxy) -> str:
    return f"redis://127.0.0.1:{proxy.port}/{STORE_DB}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_and_well(start: StartExporter, number: int) -> None:
    exporter = start()
    assert exporter.has("trellis_store_up 1.0")

    exporter.signal(number)

    assert exporter.wait(within_s=5) == 0
    assert "Traceback" not in exporter.output


def test_a_scrape_under_way_does_not_keep_it_from_ending(start: StartExporter, proxy: Proxy) -> None:
    exporter = start(ALARMING_URL=through(proxy))
    exporter.url()
    proxy.is_blackhole = True
    with socket.create_connection(("127.0.0.1", exporter.port())) as asking:
        asking.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")

        exporter.signal(signal.SIGTERM)

        assert exporter.wait(within_s=5) == 0


def test_a_port_that_is_taken_is_told_with_what_to_do(start: StartExporter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        exporter = start("--port", port)

        assert exporter.wait() == 1
    assert f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use" in exporter.output
    assert "--port" in exporter.output
    assert "Traceback" not in exporter.output


@pytest.mark.parametrize("host", ["nowhere.invalid", "", "a" * 70, "\x1b]0;x\x07"])
def test_a_host_that_is_none_is_a_short_error(start: StartExporter, host: str) -> None:
    exporter = start("--host", host, "--port", "0")

    assert exporter.wait() == 1
    assert "Error: cannot listen on " in exporter.output
    assert "Traceback" not in exporter.output
    assert "\x1b" not in exporter.output


def test_a_missing_library_is_told_with_how_to_install_it(start: StartExporter, tmp_path: Path) -> None:
    (tmp_path / "prometheus_client.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'prometheus_client'\", name='prometheus_client')"
    )
    exporter = start(PYTHONPATH=f"{tmp_path}:{ROOT}")

    assert exporter.wait() == 1
    assert "pip install 'trellis-celery[metrics]'" in exporter.output
    assert "Traceback" not in exporter.output


def test_settings_that_make_no_sense_are_told_at_the_start(start: StartExporter) -> None:
    exporter = start(ALARMING_URL="gopher://example.org")

    assert exporter.wait() == 1
    assert "Error: trellis_url must start with one of" in exporter.output


def test_json_tells_where_it_is(start: StartExporter) -> None:
    exporter = start("--json", "--port", "0")

    exporter.url()

    (told,) = map(json.loads, exporter.output.splitlines())
    assert told == {"url": exporter.url()}


def test_ipv6_is_written_as_an_address(start: StartExporter) -> None:
    exporter = start("--host", "::1", "--port", "0")

    assert exporter.url().startswith("http://[::1]:")
    assert exporter.has("trellis_store_up 1.0")


def test_it_starts_while_the_store_is_down(start: StartExporter) -> None:
    exporter = start(ALARMING_URL="redis://127.0.0.1:1/0")

    assert exporter.has("trellis_store_up 0.0")


def test_a_store_that_falls_silent_is_told_in_time_by_every_scrape_and_so_is_its_return(
    start: StartExporter, proxy: Proxy
) -> None:
    exporter = start(ALARMING_URL=through(proxy))
    exporter.wait_for("trellis_store_up 1.0")
    time.sleep(1.1)  # a reading is good for a second
    proxy.is_blackhole = True

    began_s = time.monotonic()
    with ThreadPoolExecutor(20) as several:
        told = [scrape.result() for scrape in [several.submit(exporter.scrape) for _ in range(20)]]

    assert time.monotonic() - began_s < 6
    assert all("\ntrellis_store_up 0.0\n" in text and "trellis_last_check_age" not in text for text in told)
    proxy.is_blackhole = False
    exporter.wait_for("trellis_store_up 1.0")
    assert exporter.has('trellis_exporter_read_errors_total{part="check"} 1.0'), "they have shared their readings"


def test_somebody_who_asks_for_nothing_is_let_go(start: StartExporter) -> None:
    exporter = start()
    with socket.create_connection(("127.0.0.1", exporter.port())) as silent:
        assert exporter.has("trellis_store_up 1.0"), "others are served meanwhile"
        silent.settimeout(60)

        assert silent.recv(1) == b""


# What other programs could not do


def test_what_a_worker_and_a_sender_did_untracked_is_exported(
    cluster: Cluster, start: StartExporter, proxy: Proxy
) -> None:
    exporter = start()
    assert exporter.has('trellis_untracked_total{what="prerun"} 0.0')
    worker = cluster.worker(name="untracked", concurrency=1, env={"ALARMING_URL": through(proxy)})
    trellis: Trellis = cluster.trellis
    work: Any = cluster.module.work

    def send(aggregate_id: str) -> None:
        process = trellis.start_process(
            cluster.module.Quick, tenant_id="t", aggregate_type="Order", aggregate_id=aggregate_id
        )
        with process:
            work.delay()

    send("tracked")
    cluster.diary.wait_for("worked", entries=1)
    proxy.is_blackhole = True
    send("untracked")
    cluster.diary.wait_for("worked", entries=2)
    proxy.is_blackhole = False
    send("tracked again")
    cluster.diary.wait_for("worked", entries=3)

    exporter.wait_for('trellis_untracked_total{what="prerun"} 1.0')
    worker.kill()
