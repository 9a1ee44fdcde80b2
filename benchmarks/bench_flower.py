"""How soon does Flower's list of processes begin to arrive when there are 100,000 live processes in Valkey?

Time to first byte, asked one request after the other by one visitor on the same machine; the page is that which a
browser gets: 50 processes, each with where it stands, and the numbers of all. `first` is the page that is asked for
before Flower has counted anything.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness import Cluster, cluster, save
from tests.flower.server import ANN, BASIC_AUTH, basic, flower

APP = "benchmarks.apps.trips"
THREADS = 4
REQUESTS = 20

PAGES = {
    "list": "/trellis",
    "by_state": "/trellis?order=state",
    "of_a_tenant": "/trellis?tenant=tenant-7",
    "of_a_business_key": "/trellis?aggregate_id=trip-77",
}


def fill(on: Cluster, processes: int) -> None:
    def start(number: int) -> None:
        on.trellis.start_process(
            on.module.Trip, tenant_id=f"tenant-{number % 100}", aggregate_type="Trip", aggregate_id=f"trip-{number}"
        )

    with ThreadPoolExecutor(THREADS) as pool:
        for done, _ in enumerate(pool.map(start, range(processes)), 1):
            if done % 20_000 == 0:
                print(f"{done} processes", flush=True)


def first_byte_ms(port: int, path: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        began = time.perf_counter()
        connection.request("GET", path, headers={"Authorization": basic(*ANN)})
        response = connection.getresponse()
        response.read(1)
        taken_ms = (time.perf_counter() - began) * 1000
        rest = response.read()
    finally:
        connection.close()
    assert response.status == 200, f"{path}: {response.status}"
    assert b"/trellis/process/" in rest, f"{path} shows no process"
    return taken_ms


def measure(port: int, path: str) -> dict[str, float]:
    taken = [first_byte_ms(port, path) for _ in range(REQUESTS)]
    return {"median_ms": round(statistics.median(taken), 1), "slowest_ms": round(max(taken), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=100_000)
    processes: int = parser.parse_args().processes
    with cluster(APP) as on, TemporaryDirectory() as name:
        fill(on, processes)
        env = {"TRELLIS_TEST_APP_BROKER": on.broker_url, "TRELLIS_TEST_APP_REDIS": on.redis_url}
        with flower(APP, BASIC_AUTH, directory=Path(name), env=env) as server:
            first = round(first_byte_ms(server.port, "/trellis"), 1)
            found = {page: measure(server.port, path) for page, path in PAGES.items()}
    save(
        "flower",
        {
            "flower": version("flower"),
            "processes": processes,
            "requests": REQUESTS,
            "first_ms": first,
            "time_to_first_byte": found,
        },
    )


if __name__ == "__main__":
    main()
