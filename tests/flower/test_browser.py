"""Somebody looks for a stuck order with a real browser, and gets it going again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.flower.apps.story import MARKUP
from tests.flower.browser import NARROW, Complaints, chromium, window
from tests.flower.conftest import SHOP, StartFlower
from tests.flower.server import ANN, BASIC_AUTH, FlowerServer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def shop(start_flower: StartFlower) -> FlowerServer:
    return start_flower(SHOP, BASIC_AUTH, prefix="/ops")


@pytest.fixture(params=["light", "dark", "narrow"])
def page(request: pytest.FixtureRequest, browser: Any) -> Iterator[Any]:
    """A page that must have nothing to complain about."""
    size = {"size": NARROW} if request.param == "narrow" else {}
    complaints = Complaints()
    with window(browser, is_dark=request.param == "dark", login=ANN, **size) as opened:
        complaints.listen_to(opened)
        yield opened
        assert complaints.heard == []


@pytest.fixture
def one_page(browser: Any) -> Iterator[Any]:
    with window(browser, login=ANN) as opened:
        yield opened


def test_a_step_that_was_given_up_is_found_and_retried_in_a_few_clicks(shop: FlowerServer, one_page: Any) -> None:
    page, complaints = one_page, Complaints()
    complaints.listen_to(page)
    page.goto(f"{shop.url}/trellis")
    everything = page.locator("tbody tr").count()

    page.get_by_role("link", name=re.compile("^With incident")).click()
    page.wait_for_url("**/trellis?incident=1")
    assert page.locator("tbody tr").count() < everything
    page.get_by_label("Business key").fill("order-1073")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**aggregate_id=order-1073**")
    assert page.locator("tbody tr").count() == 1
    page.locator("a.t-key").click()
    page.wait_for_url("**/trellis/process/**")
    assert page.locator(".t-process .t-incident").is_visible()
    page.get_by_role("link", name="Retry").click()
    page.get_by_role("heading", name="Retry: charge_card?").wait_for()
    page.get_by_role("button", name="Retry").click()
    page.wait_for_url(re.compile("/trellis/process/[0-9a-f-]+$"))

    assert "The step is tried again" in page.get_by_role("status").first.inner_text()
    assert page.locator(".t-process .t-incident").count() == 0
    assert "ann via Flower" in page.locator(".t-log").inner_text()
    assert complaints.heard == []


def test_a_confirmation_can_be_left_without_a_change(shop: FlowerServer, one_page: Any) -> None:
    page = one_page
    page.goto(f"{shop.url}/trellis/incidents")
    row = page.locator("tbody tr", has_text="send_letter")

    row.get_by_role("link", name="Close incident").click()
    page.get_by_role("link", name="Back, change nothing").click()

    page.wait_for_url("**/trellis/incidents")
    assert row.count() == 1


def test_a_page_that_is_open_shows_what_somebody_else_has_done(shop: FlowerServer, one_page: Any) -> None:
    ann = shop.visitor(ANN)
    process_id = ann.process_id("order-1070")
    one_page.goto(f"{shop.url}/trellis/process/{process_id}")
    words = one_page.locator("#t-gantt-text")
    words.locator("summary").click()

    answer = ann.post_json(f"/api/trellis/processes/{process_id}/steps/confirm_delivery/complete")

    assert answer.status == 200
    one_page.locator(".t-process .t-state-completed").wait_for()
    assert words.get_attribute("open") is not None  # what was opened stays open


def test_every_page_fits_its_window_and_the_browser_has_nothing_to_complain_about(
    shop: FlowerServer, page: Any
) -> None:
    ann = shop.visitor(ANN)
    rescued = f"/trellis/process/{ann.process_id('order-1074')}"

    for path in ("/trellis", "/trellis?order=state", "/trellis/incidents", rescued, f"{rescued}/cancel"):
        page.goto(shop.url + path, wait_until="networkidle")
        too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert (path, too_wide) == (path, 0)


@pytest.mark.fault("X3")
def test_markup_in_names_and_errors_is_text(shop: FlowerServer, one_page: Any) -> None:
    alerts: list[str] = []
    one_page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    one_page.goto(f"{shop.url}/trellis?state=failed")
    assert MARKUP in one_page.locator("tbody").inner_text()

    one_page.locator("a.t-name", has_text=MARKUP).click()
    one_page.wait_for_url("**/trellis/process/**")

    assert MARKUP in one_page.locator(".t-process h1").inner_text()
    assert one_page.locator("main script").count() == 0
    assert alerts == []


@pytest.mark.fault("X3")
def test_the_policy_stops_a_script_that_got_into_a_page(shop: FlowerServer, one_page: Any) -> None:
    """Should escaping ever fail: the browser refuses what is in the page itself, and says so."""
    complaints = Complaints()
    complaints.listen_to(one_page)
    one_page.goto(f"{shop.url}/trellis")

    one_page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))"
    )

    assert one_page.evaluate("window.ran") is None
    assert any("Content Security Policy" in heard for heard in complaints.heard)
