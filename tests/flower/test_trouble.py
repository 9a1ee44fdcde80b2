"""When the store is away or slow, when nobody checks: what people see, and that Flower goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.flower.conftest import StartFlower
from tests.flower.server import FlowerServer, Visitor

pytestmark = pytest.mark.integration

OPEN = {"FLOWER_UNAUTHENTICATED_API": "true"}
SOME_ID = "0-" + "0" * 32


@pytest.fixture(scope="module")
def cut_off(start_flower: StartFlower) -> Visitor:
    return start_flower("tests.flower.apps.cut_off", env=OPEN).visitor()


@pytest.fixture(scope="module")
def slow(start_flower: StartFlower) -> FlowerServer:
    return start_flower("tests.flower.apps.slow", env=OPEN)


@pytest.fixture
def late_by(start_flower: StartFlower) -> Callable[[int], Visitor]:
    return lambda ms: start_flower("tests.flower.apps.late", env={**OPEN, "LATE_BY_MS": str(ms)}).visitor()


@pytest.mark.parametrize("path", ["/trellis", "/trellis/incidents"])
def test_with_the_store_away_a_list_still_shows_its_page_and_says_so_in_red(cut_off: Visitor, path: str) -> None:
    page = cut_off.get(path)

    assert page.status == 503
    assert "The store cannot be read." in page.text
    assert "t-strip-bad" in page.text
    assert ">Processes</a>" in page.text
    assert "swordfish" not in page.text
    assert "Traceback" not in page.text


def test_with_the_store_away_other_pages_say_so_and_nothing_shows_its_password(cut_off: Visitor) -> None:
    pages = [cut_off.get(f"/trellis/process/{SOME_ID}"), cut_off.get(f"/trellis/process/{SOME_ID}/cancel")]

    assert [page.status for page in pages] == [503, 503]
    assert all("The store cannot be read" in page.text and "swordfish" not in page.text for page in pages)


@pytest.mark.parametrize("path", ["processes", f"processes/{SOME_ID}", "incidents", "stats", "check"])
def test_with_the_store_away_the_api_answers_503(cut_off: Visitor, path: str) -> None:
    answer = cut_off.get(f"/api/trellis/{path}")

    assert (answer.status, answer.data["error"]["kind"]) == (503, "StoreUnavailable")
    assert "swordfish" not in answer.text


def test_with_the_store_away_nothing_is_pretended_to_be_done(cut_off: Visitor) -> None:
    answer = cut_off.post_json(f"/api/trellis/processes/{SOME_ID}/cancel")

    assert answer.status == 503


def test_the_part_that_refreshes_itself_says_it_too(cut_off: Visitor) -> None:
    part = cut_off.get("/trellis", {"X-Trellis-Live": "1"})

    assert (part.status, part.headers["X-Trellis-Live"]) == (503, "1")
    assert "The store cannot be read." in part.text


def test_while_the_store_takes_its_time_flower_serves_everybody_else(slow: FlowerServer) -> None:
    with ThreadPoolExecutor(5) as readers:
        waiting = [readers.submit(slow.visitor().get, "/trellis") for _ in range(5)]
        time.sleep(0.5)  # all of them have arrived
        others = [slow.visitor().get("/healthcheck").status for _ in range(20)]
        none_was_done = not any(one.done() for one in waiting)
        statuses = [one.result().status for one in waiting]

    assert none_was_done
    assert statuses == [200] * 5
    assert others == [200] * 20


@pytest.mark.fault("C2")
def test_the_head_is_red_and_says_what_to_do_once_three_checks_are_missing(late_by: Callable[[int], Visitor]) -> None:
    in_time, late, never = late_by(6_000), late_by(6_001), late_by(0)

    pages = [visitor.get("/trellis") for visitor in (in_time, late, never)]

    assert "Last check for late steps" in pages[0].text
    assert "t-strip-bad" not in pages[0].text
    assert "by beat@&lt;b&gt;shop&lt;/b&gt;" in pages[0].text
    assert "the last one was" in pages[1].text
    assert "Nobody has looked for late steps yet." in pages[2].text
    for page in pages[1:]:
        assert (page.status, "t-strip-bad" in page.text) == (200, True)
        assert "celery -A … beat" in page.text
    checks = [visitor.get("/api/trellis/check").data for visitor in (in_time, late, never)]
    assert [(check["is_late"], check["interval_ms"]) for check in checks] == [(False, 2000), (True, 2000), (True, 2000)]
    assert checks[2]["at_ms"] is None
