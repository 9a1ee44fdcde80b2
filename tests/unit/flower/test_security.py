"""Who asks, and whether a page of ours does."""

from __future__ import annotations

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.web import Application, RequestHandler

from tests.flower.server import basic
from trellis_celery.flower import security
from trellis_celery.flower.problems import Problem


class Connection:
    """What a handler needs of one."""

    def set_close_callback(self, callback: object) -> None: ...


class Options:
    """Flower's, as far as they are about who may."""

    def __init__(self, *, basic_auth: list[str] | None = None, auth: str = "", read_only: bool = False) -> None:
        self.basic_auth, self.auth, self.read_only = basic_auth, auth, read_only


def asked(method: str = "POST", **headers: str) -> HTTPServerRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HTTPServerRequest(
        start_line=RequestStartLine(method, "/trellis", "HTTP/1.1"),
        headers=HTTPHeaders({"Host": "flower.example:5555", **named}),
        connection=Connection(),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://flower.example:5555"},
        {"Origin": "https://Flower.Example:5555"},
        {"Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "same-origin", "Origin": "https://public.example"},
    ],
    ids=str,
)
def test_a_program_and_a_page_of_ours_may_ask(headers: dict[str, str]) -> None:
    security.require_own_site(asked(**headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://flower.example:5556"},
        {"Origin": "http://flower.example.evil.example:5555"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://[::1"},
        {"Sec_Fetch_Site": ""},
        {"Sec_Fetch_Site": "none"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site", "Origin": "http://flower.example:5555"},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_a_page_of_anybody_else_may_not(method: str, headers: dict[str, str]) -> None:
    with pytest.raises(Problem) as refused:
        security.require_own_site(asked(method, **headers))

    assert (refused.value.status_code, refused.value.kind) == (403, "CrossSite")


def test_looking_is_not_asking_for_a_change() -> None:
    security.require_own_site(asked("GET", Sec_Fetch_Site="cross-site", Origin="https://evil.example"))


def actor(user: object, options: Options, authorization: str = "") -> str:
    handler = RequestHandler(Application(), asked(Authorization=authorization))
    handler.current_user = user
    return security.actor(handler, options)


PASSWORD = Options(basic_auth=["ann:secret"])


def test_who_did_it_is_a_name_that_flower_has_checked() -> None:
    assert actor(True, PASSWORD, basic("ann", "secret")) == "ann via Flower"
    assert actor("ann@example.com", Options(auth=".*")) == "ann@example.com via Flower"


def test_a_name_that_nobody_has_checked_is_no_name() -> None:
    assert actor(True, Options(), basic("ann", "whatever")) == "Flower"
    assert actor(True, PASSWORD, "Bearer ann") == "Flower"
    assert actor(True, PASSWORD, "Basic !!!") == "Flower"


def test_a_name_is_short_and_can_be_seen() -> None:
    assert actor(True, PASSWORD, basic("a\u202eb\n", "x")) == "a?b? via Flower"
    assert actor(True, PASSWORD, basic("x" * 500, "x")) == "x" * 100 + " via Flower"


@pytest.mark.parametrize(
    ("options", "environment", "may"),
    [
        (Options(), "", False),
        (Options(), "false", False),
        (Options(), "nonsense", False),
        (Options(), "True", True),
        (Options(), "1", True),
        (Options(basic_auth=["a:b"]), "", True),
        (Options(auth=".*@example.com"), "", True),
        (Options(basic_auth=["a:b"], read_only=True), "", False),
        (Options(read_only=True), "true", False),
    ],
)
def test_who_may_change_anything_follows_from_how_flower_was_started(
    monkeypatch: pytest.MonkeyPatch, options: Options, environment: str, may: bool
) -> None:
    monkeypatch.setenv("FLOWER_UNAUTHENTICATED_API", environment)

    assert (security.why_read_only(options) is None) is may
