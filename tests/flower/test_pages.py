"""What the pages say, and that they say it of hostile names too."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from tests.flower.apps.story import MARKUP, SECRET
from tests.flower.conftest import SHOP, StartFlower
from tests.flower.server import Answer, FlowerServer, Visitor

pytestmark = pytest.mark.integration

OPEN = {"FLOWER_UNAUTHENTICATED_API": "true"}


@pytest.fixture(scope="module")
def server(start_flower: StartFlower) -> FlowerServer:
    return start_flower(SHOP, env=OPEN)


@pytest.fixture(scope="module")
def visitor(server: FlowerServer) -> Visitor:
    return server.visitor()


class Words(HTMLParser):
    """What a reader sees, and the elements there are."""

    def __init__(self, page: Answer) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.words.append(" " if tag in ("td", "p", "li") else "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def rows(page: Answer) -> list[str]:
    """The words of each row of the first table."""
    body = page.text.partition("<tbody>")[2].partition("</tbody>")[0]
    return [re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", row)).strip() for row in body.split("<tr>")[1:]]


def orders(page: Answer) -> list[str]:
    return re.findall(r"<b>(order-\d+|ref-\d+)</b>", page.text)


def test_the_list_says_of_each_process_what_it_waits_for_and_since_when(visitor: Visitor) -> None:
    found = {row: row for row in rows(visitor.get("/trellis"))}

    def row_of(order: str) -> str:
        return next(row for row in found if order in row)

    assert "in progress" in row_of("order-1074")
    assert "2/4 pack running for 6.0 s + 1 other step in 54 s then it is tried again 17 s ago" in row_of("order-1074")
    assert "failed incident" in row_of("order-1073")
    assert "charge_card given up 5 min 48 s ago" in row_of("order-1073")
    assert "gave up after attempt 3" in row_of("order-1073")
    assert "in progress overdue" in row_of("order-1072")
    assert "waiting for a worker for 1 min 17 s" in row_of("order-1072")
    assert "confirm_delivery waiting to be completed from outside" in row_of("order-1070")
    assert "reserve_stock not sent for 1.0 s" in row_of("order-1090")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"type": "Referral"}, ["ref-77"]),
        ({"tenant": "globex"}, ["order-1070"]),
        ({"aggregate_id": "order-1073"}, ["order-1073"]),
        ({"aggregate_id": "order-1073", "aggregate_type": "Referral"}, []),
        ({"overdue": "1"}, ["order-1072"]),
        ({"incident": "1"}, ["ref-77", "order-1073"]),
        ({"state": "pending"}, ["order-1090"]),
        ({"state": "cancelled", "tenant": "acme", "type": "Order"}, ["order-1071"]),
        ({"state": "in_progress", "min_age_ms": "600000"}, ["order-1072", "order-1070"]),
        ({"state": "", "tenant": " ", "type": "Referral"}, ["ref-77"]),
    ],
    ids=str,
)
def test_the_list_is_filtered(visitor: Visitor, query: dict[str, str], expected: list[str]) -> None:
    page = visitor.get("/trellis", **query)

    assert (page.status, orders(page)) == (200, expected)


@pytest.mark.parametrize("order", ["", "state"])
def test_page_by_page_the_list_has_every_process_once(visitor: Visitor, order: str) -> None:
    path, seen, sizes = f"/trellis?limit=9&order={order}", [], []
    while path:
        page = visitor.get(path)
        seen += re.findall(r'class="t-name" href="/trellis/process/([^"]+)"', page.text)
        sizes.append(len(rows(page)))
        found = re.search(r'rel="next" href="([^"]+)"', page.text)
        path = found[1].replace("&amp;", "&") if found else ""

    assert sizes == [9] * 7 + [5]
    assert len(set(seen)) == len(seen) == 68


def test_in_the_order_of_states_failed_processes_come_first_and_completed_last(visitor: Visitor) -> None:
    page = visitor.get("/trellis", order="state", limit="100")

    states = re.findall(r'data-label="State"><span class="t-badge t-state-(\w+)"', page.text)

    assert states == ["failed"] * 2 + ["in_progress"] * 4 + ["pending", "cancelled"] + ["completed"] * 60


@pytest.mark.fault("X13")
@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"state": "lost"}, "state must be one of pending"),
        ({"limit": "0"}, "limit must be between 1 and 500"),
        ({"limit": "many"}, "limit must be a whole number"),
        ({"after": "1/../../x"}, "after must be what the page before gave"),
        ({"after": "1/0-" + "0" * 32, "order": "state"}, "another order"),
        ({"aggregate_type": "Order"}, "together with an aggregate_id"),
        ({"state": "completed", "overdue": "1"}, "not overdue any more"),
        ({"colour": "red"}, "is not known here"),
        ({"tenant": "x" * 513}, "longer than 512"),
    ],
    ids=str,
)
def test_a_query_that_makes_no_sense_is_told_so_above_the_filters_that_are_still_there(
    visitor: Visitor, query: dict[str, str], reason: str
) -> None:
    page = visitor.get("/trellis", **query)

    assert page.status == 400
    assert reason in Words(page).text.lower()
    assert 'id="t-filters"' in page.text


def test_the_head_says_when_the_last_check_was_and_by_whom(visitor: Visitor) -> None:
    for path in ("/trellis", "/trellis/incidents", f"/trellis/process/{visitor.process_id('order-1074')}"):
        text = Words(visitor.get(path)).text
        assert "Last check for late steps 600 ms ago, by beat@shop-1" in text


def test_the_incidents_say_what_was_given_up_why_and_since_when(visitor: Visitor) -> None:
    page = visitor.get("/trellis/incidents")

    by_order = dict(zip(("ref-77", "order-1073"), rows(page), strict=True))

    assert by_order["ref-77"].startswith("1 min 17 s ago send_letter attempt 1 Referral in progress")
    assert "no outcome after 30000 ms Retry Complete Fail Close incident" in by_order["ref-77"]
    assert by_order["order-1073"].startswith("5 min 48 s ago charge_card attempt 3 Order failed")
    assert by_order["order-1073"].endswith("Retry Complete Close incident")


def test_incidents_are_filtered_and_paged(visitor: Visitor) -> None:
    first = visitor.get("/trellis/incidents", limit="1")
    following = re.search(r'rel="next" href="([^"]+)"', first.text)
    assert following
    second = visitor.get(following[1].replace("&amp;", "&"))

    assert (orders(first), orders(second)) == (["ref-77"], ["order-1073"])
    assert 'rel="next"' not in second.text
    assert orders(visitor.get("/trellis/incidents", tenant="clinic-7")) == ["ref-77"]


def test_the_page_of_a_process_draws_what_happened_and_says_it_in_words(visitor: Visitor) -> None:
    page = visitor.get(f"/trellis/process/{visitor.process_id('order-1074')}")
    words = Words(page)

    classes = [attrs.get("class") or "" for tag, attrs in words.elements if tag == "rect"]
    assert sum("t-bar-lost" in one for one in classes) == 1
    assert sum("t-bar-running" in one for one in classes) == 3
    assert sum("t-bar-open" in one for one in classes) == 2
    assert 'role="img"' in page.text
    assert "lost (attempt 1) 6.0 s worker lost: celery@worker-2" in words.text
    assert "running (attempt 2) 1.5 s celery@worker-1" in words.text
    assert "deadline in 23 h" in words.text
    assert '"placed_by": "phone"' in words.text


def test_the_page_of_a_process_offers_what_its_steps_allow(visitor: Visitor) -> None:
    process_id = visitor.process_id("order-1073")

    links = re.findall(
        r'href="/trellis/process/[^/"]+/(\w+(?:\?step=\w+)?)"', visitor.get(f"/trellis/process/{process_id}").text
    )

    assert links == [
        "cancel",
        "retry?step=charge_card",
        "complete?step=charge_card",
        "close?step=charge_card",
        "complete?step=pack",
        "fail?step=pack",
        "complete?step=confirm_delivery",
        "fail?step=confirm_delivery",
    ]  # fmt: skip


@pytest.mark.fault("X11")
def test_a_process_that_is_not_there_is_a_page_that_says_so(visitor: Visitor) -> None:
    for process_id in ("0-" + "0" * 32, "nonsense", "%3Cscript%3E", "..%2f..%2fetc"):
        page = visitor.get(f"/trellis/process/{process_id}")
        assert page.status == 404
        assert "No process has the id" in Words(page).text


@pytest.mark.fault("X3")
def test_what_people_wrote_is_text_and_nothing_else(visitor: Visitor) -> None:
    process_id = visitor.get("/api/trellis/processes", type=MARKUP).data["processes"][0]["id"]
    process_page = f"/trellis/process/{process_id}"
    pages = [
        visitor.get("/trellis"),
        visitor.get("/trellis", type=MARKUP, tenant=MARKUP, aggregate_id=MARKUP),
        visitor.get("/trellis", state=MARKUP),
        visitor.get(process_page),
        visitor.get(f"{process_page}/retry", step=MARKUP, back=MARKUP),
        visitor.get(f"{process_page}/retry", step=f"{MARKUP}?"),
        visitor.get("/trellis/process/" + MARKUP.replace("/", "%2f").replace(" ", "%20")),
    ]

    for page in pages:
        words = Words(page)
        assert "<script>" not in page.text
        assert "\u202e" not in page.text
        assert all("src" in attrs for tag, attrs in words.elements if tag == "script")
        assert not any("style" in attrs or any(name.startswith("on") for name in attrs) for _, attrs in words.elements)
    for page in (*pages[:2], *pages[3:5]):
        assert MARKUP in Words(page).text
    assert "\\u202e" in pages[3].text


def test_pages_load_nothing_from_elsewhere(visitor: Visitor) -> None:
    for path in ("/trellis", "/trellis/incidents", f"/trellis/process/{visitor.process_id('order-1073')}"):
        words = Words(visitor.get(path))
        loaded = [
            attrs.get("src") or attrs.get("href") or ""
            for tag, attrs in words.elements
            if tag in ("script", "img", "link", "iframe", "use", "image")
        ]
        assert loaded
        assert all(re.match(r"/(?!/)|#", url) for url in loaded)
        for url in loaded:
            if url.startswith("/"):
                assert visitor.get(url).status == 200


@pytest.mark.fault("X5")
def test_the_arguments_of_tasks_are_nowhere(visitor: Visitor) -> None:
    process_id = visitor.process_id("order-1073")
    paths = ["/trellis", "/trellis/incidents", f"/trellis/process/{process_id}", f"/api/trellis/processes/{process_id}"]
    paths += ["/api/trellis/processes", "/api/trellis/incidents", "/api/trellis/stats"]

    assert not any(SECRET in visitor.get(path).text for path in paths)


@pytest.mark.fault("X3")
def test_the_arguments_of_tasks_are_shown_where_the_settings_say_so(start_flower: StartFlower) -> None:
    visitor = start_flower(SHOP, env={**OPEN, "SHOP_SHOWS_ARGUMENTS": "1"}).visitor()
    process_id = visitor.process_id("order-1073")

    page, data = visitor.get(f"/trellis/process/{process_id}"), visitor.get(f"/api/trellis/processes/{process_id}").data

    assert repr((SECRET, MARKUP)) in Words(page).text
    assert "<script>alert" not in page.text
    assert repr((SECRET, MARKUP)) in [step.get("arguments") for step in data["process"]["steps"]]
    assert SECRET not in visitor.get("/trellis").text


def test_the_script_of_a_page_gets_only_the_parts_that_change(visitor: Visitor) -> None:
    for path in ("/trellis", "/trellis/incidents", f"/trellis/process/{visitor.process_id('order-1074')}"):
        part = visitor.get(path, {"X-Trellis-Live": "1"})
        assert (part.status, part.headers["X-Trellis-Live"]) == (200, "1")
        assert part.text.count("data-live=") == 3
        assert "<html" not in part.text
        assert "<form" not in part.text
