"""A page that refreshes itself leaves alone what a person is doing with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.flower.browser import chromium, window
from tests.flower.conftest import SHOP, StartFlower
from tests.flower.server import ANN, BASIC_AUTH, FlowerServer

pytestmark = pytest.mark.integration

EVERY_MS = 5_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def shop(start_flower: StartFlower) -> FlowerServer:
    return start_flower(SHOP, BASIC_AUTH)


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """With a clock that goes on only when a test says so."""
    with window(browser, login=ANN) as opened:
        opened.clock.install()
        yield opened


def is_refresh(request: Any) -> bool:
    return bool(request.headers.get("x-trellis-live") == "1")


def refreshed(page: Any) -> Any:
    """Let the time pass until the page asks again; return what it is answered."""
    with page.expect_response(lambda response: is_refresh(response.request)) as answer:
        page.clock.run_for(EVERY_MS + 100)
    return answer.value


def complete(shop: FlowerServer, order: str, step: str) -> None:
    ann = shop.visitor(ANN)
    path = f"/api/trellis/processes/{ann.process_id(order)}/steps/{step}/complete"
    assert ann.post_json(path).status == 200


def test_scroll_filters_and_focus_stay_while_the_list_changes(shop: FlowerServer, page: Any) -> None:
    page.goto(f"{shop.url}/trellis?type=Order")
    row = page.locator("tbody tr", has_text="order-1090")
    assert "0/4" in row.inner_text()
    page.get_by_label("Tenant").fill("half of a na")
    page.evaluate("window.scrollTo(0, 700)")
    page.locator("a.t-key", has_text="order-1074").evaluate("one => one.focus({preventScroll: true})")

    complete(shop, "order-1090", "reserve_stock")
    refreshed(page)
    page.locator("tbody tr", has_text="1/4").filter(has_text="order-1090").wait_for(state="attached")

    assert page.evaluate("window.scrollY") == 700
    assert page.get_by_label("Tenant").input_value() == "half of a na"
    assert page.locator("select[name=type]").input_value() == "Order"
    assert "order-1074" in page.evaluate("document.activeElement.textContent")
    assert page.url.endswith("?type=Order")


def test_what_somebody_marks_is_not_taken_away(shop: FlowerServer, page: Any) -> None:
    page.goto(f"{shop.url}/trellis")
    row = page.locator("tbody tr", has_text="order-1070")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('tbody'))")

    complete(shop, "order-1070", "confirm_delivery")
    refreshed(page)
    refreshed(page)  # so that the first has been dealt with

    assert "3/4" in row.inner_text()
    page.evaluate("getSelection().removeAllRanges()")
    refreshed(page)
    page.locator("tbody tr", has_text="4/4").filter(has_text="order-1070").wait_for()


def test_a_page_that_nobody_sees_asks_nothing(shop: FlowerServer, page: Any) -> None:
    asked: list[str] = []
    page.goto(f"{shop.url}/trellis")
    page.on("request", lambda request: asked.append(request.url) if is_refresh(request) else None)

    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.clock.run_for(20 * EVERY_MS)
    while_hidden = list(asked)
    page.evaluate("Object.defineProperty(document, 'hidden', {value: false, configurable: true})")
    with page.expect_response("**/trellis"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    assert while_hidden == []


def test_the_button_stops_and_starts_it(shop: FlowerServer, page: Any) -> None:
    asked: list[str] = []
    page.goto(f"{shop.url}/trellis")
    button = page.locator("#t-refresh")
    button.click()
    page.on("request", lambda request: asked.append(request.url) if is_refresh(request) else None)

    page.clock.run_for(20 * EVERY_MS)

    assert (asked, button.inner_text().strip(), button.get_attribute("aria-pressed")) == ([], "Paused", "false")
    with page.expect_response("**/trellis"):
        button.click()
    assert button.inner_text().strip() == "Live"


def test_a_page_says_that_it_is_not_fresh_any_more_and_goes_on_when_it_can(shop: FlowerServer, page: Any) -> None:
    page.goto(f"{shop.url}/trellis")
    page.route("**/trellis", lambda route: route.abort())
    page.clock.run_for(EVERY_MS + 100)
    page.get_by_text("Not refreshed: Flower does not answer").wait_for()
    assert page.locator("tbody tr").count() > 0

    page.unroute("**/trellis")
    page.clock.run_for(EVERY_MS)
    refreshed(page)

    page.locator("#t-refresh-text", has_text="Live").wait_for()


def test_without_scripts_everything_can_be_done_but_for_refreshing(shop: FlowerServer, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False, http_credentials={"username": ANN[0], "password": ANN[1]})
    try:
        page = context.new_page()
        page.goto(f"{shop.url}/trellis")
        page.get_by_label("Business key").fill("order-1073")
        page.get_by_role("button", name="Filter").click()
        page.locator("a.t-name").click()
        page.get_by_role("link", name="Retry").click()
        page.get_by_role("button", name="Retry").click()

        assert "The step is tried again" in page.get_by_role("status").first.inner_text()
        assert page.locator("#t-refresh").is_hidden()
    finally:
        context.close()
