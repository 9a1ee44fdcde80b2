"""Flower's `/metrics` has those of trellis too, and Flower waits for no store."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.flower.conftest import SHOP, StartFlower
from tests.flower.server import BASIC_AUTH, FlowerServer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def shop(start_flower: StartFlower) -> FlowerServer:
    return start_flower(SHOP, env={"FLOWER_UNAUTHENTICATED_API": "1"})


def test_metrics_of_flower_and_of_trellis_are_on_one_page(shop: FlowerServer) -> None:
    for _ in range(2):
        answer = shop.visitor().get("/metrics")

        assert answer.status == 200
        assert "\nflower_worker_online" in answer.text or "# TYPE flower_worker_online" in answer.text
        assert "\ntrellis_store_up 1.0\n" in answer.text
        assert answer.text.count("# TYPE trellis_store_up ") == 1


def test_numbers_are_there_and_nothing_that_tells_processes_or_tenants_apart(shop: FlowerServer) -> None:
    visitor = shop.visitor()
    process = visitor.get("/api/trellis/processes").data["processes"][0]

    ours = [line for line in visitor.get("/metrics").text.splitlines() if line.startswith("trellis_")]

    assert any(line.startswith('trellis_processes{process_type="Order"') for line in ours)
    for telling in (process["id"], process["tenant_id"], process["aggregate_id"]):
        assert not [line for line in ours if telling in line]


def test_metrics_are_where_flower_has_them_under_a_prefix_and_behind_a_login(start_flower: StartFlower) -> None:
    prefixed = start_flower(SHOP, BASIC_AUTH, prefix="/ops")

    answer = prefixed.visitor().get("/metrics")

    assert (answer.status, "trellis_store_up 1.0" in answer.text) == (200, True), "Flower asks nobody for a login here"


def test_a_store_that_hangs_holds_up_the_scrape_and_nobody_else(start_flower: StartFlower) -> None:
    hanging = start_flower("tests.flower.apps.hanging")
    visitor = hanging.visitor()

    with ThreadPoolExecutor(20) as several:
        scrapes = [several.submit(hanging.visitor().get, "/metrics") for _ in range(20)]
        began_s = time.monotonic()
        while not all(scrape.done() for scrape in scrapes):
            asked_s = time.monotonic()
            assert visitor.get("/healthcheck").text == "OK"
            assert time.monotonic() - asked_s < 2
        answers = [scrape.result() for scrape in scrapes]

    assert time.monotonic() - began_s < 9, "Prometheus waits for ten seconds"
    assert {answer.status for answer in answers} == {200}
    assert all("\ntrellis_store_up 0.0\n" in answer.text for answer in answers)
    assert all("flower_worker_online" in answer.text for answer in answers)
