"""Who may look and who may act: the same with every release of Flower that is supported."""

from __future__ import annotations

from importlib.metadata import version

import pytest
from tornado.web import create_signed_value

from tests.flower.conftest import SHOP, StartFlower
from tests.flower.server import ANN, BASIC_AUTH, Answer, FlowerServer, Visitor

pytestmark = pytest.mark.integration

#: For the report: which release the matrix was asserted for.
FLOWER = version("flower")
COOKIE_SECRET = "known to this test"
STEP = "reserve_stock"
ORDER = "order-1090"

PAGES = ["/trellis", "/trellis/incidents", "/trellis/process/{id}", "/trellis/process/{id}/retry?step=charge_card"]
API = [
    "/api/trellis/processes",
    "/api/trellis/processes/{id}",
    "/api/trellis/incidents",
    "/api/trellis/stats",
    "/api/trellis/check",
]
#: What a browser says when a page of another site, or nobody knows which, asks for something.
FOREIGN = [
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "same-site", "Origin": "https://blog.example"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://[broken"},
]


@pytest.fixture(scope="module")
def closed(start_flower: StartFlower) -> FlowerServer:
    """As it is without any option: nobody has to log in."""
    return start_flower(SHOP)


@pytest.fixture(scope="module")
def open_to_all(start_flower: StartFlower) -> FlowerServer:
    return start_flower(SHOP, env={"FLOWER_UNAUTHENTICATED_API": "true"})


@pytest.fixture(scope="module")
def with_password(start_flower: StartFlower) -> FlowerServer:
    return start_flower(SHOP, BASIC_AUTH, prefix="/ops")


@pytest.fixture(scope="module")
def with_oauth(start_flower: StartFlower) -> FlowerServer:
    return start_flower(
        SHOP,
        "--auth=.*@example.com",
        "--auth-provider=flower.views.auth.GoogleAuth2LoginHandler",
        "--oauth2-key=key",
        "--oauth2-secret=secret",
        "--oauth2-redirect-uri=http://127.0.0.1/login",
        f"--cookie-secret={COOKIE_SECRET}",
    )


@pytest.fixture(scope="module", params=["option", "environment"])
def read_only(request: pytest.FixtureRequest, start_flower: StartFlower) -> FlowerServer:
    if request.param == "option":
        return start_flower(SHOP, BASIC_AUTH, "--read-only")
    return start_flower(SHOP, BASIC_AUTH, env={"FLOWER_READ_ONLY": "true"})


def by_form(visitor: Visitor, process_id: str, headers: dict[str, str] | None = None) -> Answer:
    """Complete a step as a browser would, with the token of a page; doing so twice is as good as once."""
    page = visitor.get(f"/trellis/process/{process_id}/cancel")
    token = page.token() if "_xsrf" in page.text else "none"
    path = f"/trellis/process/{process_id}/complete"
    return visitor.post_form(path, {"_xsrf": token, "step": STEP}, headers or {})


def by_api(visitor: Visitor, process_id: str, headers: dict[str, str] | None = None) -> Answer:
    path = f"/api/trellis/processes/{process_id}/steps/{STEP}/complete"
    return visitor.post_json(path, headers=headers or {})


def paths(templates: list[str], process_id: str) -> list[str]:
    return [template.format(id=process_id) for template in templates]


@pytest.mark.fault("X4")
def test_without_a_login_everybody_may_look_at_pages_and_nobody_may_act(closed: FlowerServer) -> None:
    visitor = closed.visitor()
    process_id = visitor.process_id(ORDER)

    looked = [visitor.get(path) for path in paths(PAGES, process_id)]
    asked = [visitor.get(path) for path in paths(API, process_id)]
    acted = by_form(visitor, process_id), by_api(visitor, process_id)

    assert [answer.status for answer in looked] == [200] * len(PAGES)
    assert [answer.status for answer in asked] == [401] * len(API)
    assert [answer.status for answer in acted] == [403, 401]
    assert "--basic-auth" in acted[0].text
    assert ">Cancel process</a>" not in looked[2].text
    assert "FLOWER_UNAUTHENTICATED_API" in asked[0].data["error"]["message"]


def test_where_somebody_said_that_anyone_may_anyone_may(open_to_all: FlowerServer) -> None:
    visitor = open_to_all.visitor()
    process_id = visitor.process_id(ORDER)

    looked = [visitor.get(path).status for path in paths(PAGES + API, process_id)]
    acted = by_form(visitor, process_id).status, by_api(visitor, process_id).status

    assert looked == [200] * len(PAGES + API)
    assert acted == (303, 200)


@pytest.mark.fault("X4")
@pytest.mark.parametrize("login", [None, ("ann", "wrong"), ("", "")], ids=["none", "wrong", "empty"])
def test_with_a_password_nobody_sees_anything_without_it(
    with_password: FlowerServer, login: tuple[str, str] | None
) -> None:
    process_id = with_password.visitor(ANN).process_id(ORDER)
    stranger = with_password.visitor(login)

    answers = [stranger.get(path) for path in paths(PAGES + API, process_id)]
    acted = by_form(stranger, process_id), by_api(stranger, process_id)

    assert {answer.status for answer in (*answers, *acted)} == {401}
    assert not any("order-10" in answer.text for answer in answers)
    assert all("Basic" in answer.headers["WWW-Authenticate"] for answer in answers)


def test_with_the_password_one_may_look_and_act(with_password: FlowerServer) -> None:
    ann = with_password.visitor(ANN)
    process_id = ann.process_id(ORDER)

    looked = [ann.get(path).status for path in paths(PAGES + API, process_id)]
    acted = by_form(ann, process_id).status, by_api(ann, process_id).status

    assert looked == [200] * len(PAGES + API)
    assert acted == (303, 200)


@pytest.mark.fault("X4")
def test_who_is_known_by_oauth_may_and_who_is_not_is_led_to_the_login(with_oauth: FlowerServer) -> None:
    stranger, outsider, ann = with_oauth.visitor(), signed_in(with_oauth, "eve@evil.example"), signed_in(with_oauth)
    process_id = ann.process_id(ORDER)

    assert ann.get("/api/trellis/check").status == 200
    for visitor in (stranger, outsider):
        page = visitor.get("/trellis")
        assert (page.status, page.headers["Location"].startswith("/login?")) == (302, True)
        assert visitor.get("/api/trellis/processes").status == 401
        assert by_api(visitor, process_id).status in (401, 403)
        assert visitor.post_form(f"/trellis/process/{process_id}/complete", {"step": STEP}).status == 403


def signed_in(server: FlowerServer, email: str = "ann@example.com") -> Visitor:
    cookie = create_signed_value(COOKIE_SECRET, "user", email).decode()
    return Visitor(server.port, cookies={"user": cookie})


@pytest.mark.fault("X4")
def test_where_the_login_is_a_cookie_the_api_too_asks_for_the_token(with_oauth: FlowerServer) -> None:
    ann = signed_in(with_oauth)
    process_id = ann.process_id(ORDER)
    token = ann.get(f"/trellis/process/{process_id}/complete", step=STEP).token()

    without, with_token = by_api(ann, process_id), by_api(ann, process_id, {"X-XSRFToken": token})

    assert (without.status, with_token.status) == (403, 200)


def test_read_only_lets_everything_be_seen_and_nothing_be_changed(read_only: FlowerServer) -> None:
    ann = read_only.visitor(ANN)
    process_id = ann.process_id(ORDER)

    looked = [ann.get(path) for path in paths(PAGES + API, process_id)]
    acted = by_form(ann, process_id), by_api(ann, process_id)

    assert [answer.status for answer in looked] == [200] * len(PAGES + API)
    assert [answer.status for answer in acted] == [403, 403]
    assert acted[1].data["error"]["kind"] == "ReadOnly"
    assert "read_only" in looked[2].text
    assert "/retry?" not in looked[1].text
    assert "<form" not in looked[3].text
    assert ann.get(f"/api/trellis/processes/{process_id}").data["process"]["state"] == "pending"


@pytest.mark.fault("X4")
@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize("act", [by_form, by_api])
@pytest.mark.parametrize("how", ["open_to_all", "with_password"])
def test_a_page_of_another_site_cannot_act_for_whoever_looks_at_it(
    request: pytest.FixtureRequest, how: str, act: object, headers: dict[str, str]
) -> None:
    server: FlowerServer = request.getfixturevalue(how)
    visitor = server.visitor(ANN)  # the browser sends the password on its own
    process_id = visitor.process_id("order-1074")
    assert callable(act)

    answer = act(visitor, process_id, headers)

    assert answer.status == 403


@pytest.mark.parametrize("act", [by_form, by_api])
def test_a_page_of_its_own_can_act(with_password: FlowerServer, act: object) -> None:
    ann = with_password.visitor(ANN)
    own = {"Origin": f"http://127.0.0.1:{with_password.port}"}
    behind_a_proxy = {"Sec-Fetch-Site": "same-origin", "Origin": "https://flower.example.com"}
    assert callable(act)

    statuses = [act(ann, ann.process_id(ORDER), headers).status for headers in (own, behind_a_proxy)]

    assert statuses in ([303, 303], [200, 200])


@pytest.mark.fault("X4")
@pytest.mark.parametrize("how", ["open_to_all", "with_password"])
@pytest.mark.parametrize("token", ["", "2|aaaaaaaa|bbbb|1", "nonsense"])
def test_a_form_without_the_token_of_its_page_is_refused(request: pytest.FixtureRequest, how: str, token: str) -> None:
    server: FlowerServer = request.getfixturevalue(how)
    visitor = server.visitor(ANN)
    process_id = visitor.process_id("order-1074")
    visitor.get("/trellis")

    answer = visitor.post_form(f"/trellis/process/{process_id}/cancel", {"_xsrf": token})

    assert answer.status == 403
    assert "is not cancelled" not in answer.text
    assert ">in progress<" in visitor.get(f"/trellis/process/{process_id}").text


@pytest.mark.fault("X4")
def test_nothing_is_changed_by_looking(open_to_all: FlowerServer) -> None:
    visitor = open_to_all.visitor()
    process_id = visitor.process_id("order-1074")

    asked = [
        visitor.get(f"/trellis/process/{process_id}/cancel").status,
        visitor.get(f"/api/trellis/processes/{process_id}/cancel").status,
        visitor.get(f"/api/trellis/processes/{process_id}/steps/pack/complete").status,
    ]

    assert asked == [200, 405, 405]
    assert visitor.get(f"/api/trellis/processes/{process_id}").data["process"]["state"] == "in_progress"


@pytest.mark.fault("X3", "X4")
@pytest.mark.parametrize("how", ["closed", "open_to_all", "with_password"])
def test_no_other_site_may_read_our_answers_and_no_page_runs_foreign_scripts(
    request: pytest.FixtureRequest, how: str
) -> None:
    server: FlowerServer = request.getfixturevalue(how)
    visitor = server.visitor(ANN)
    process_id = visitor.process_id(ORDER)
    found = [visitor.get(path, {"Origin": "https://evil.example"}) for path in paths(PAGES + API, process_id)]
    missing = [visitor.get("/trellis/process/nonsense"), visitor.get("/api/trellis/nothing")]
    style = visitor.get("/trellis/static/trellis.css")

    for answer in (*found, *missing, style):
        assert answer.headers["Access-Control-Allow-Origin"] is None
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "frame-ancestors 'none'; base-uri 'none'; form-action 'self'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for answer in found:
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.fault("X11")
@pytest.mark.parametrize("slash", ["/", "%2f", "\\", "%5c", "%252f"])
@pytest.mark.parametrize("place", ["/trellis/static", "/trellis/process", "/api/trellis/processes"])
def test_a_path_that_leads_out_of_a_folder_leads_to_no_file(closed: FlowerServer, place: str, slash: str) -> None:
    visitor = closed.visitor()

    for target in ("etc/passwd", "handler.py"):
        for up in range(1, 12, 2):
            path = slash.join([*[".."] * up, *target.split("/")])
            answer = visitor.get(f"{place}/{path}")
            assert answer.status in (400, 401, 403, 404)
            assert "root:" not in answer.text
            assert "import " not in answer.text
