"""The buttons: what they ask, what they do, and who is said to have done it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flower.apps.story import MARKUP
from tests.flower.conftest import SHOP, StartFlower
from tests.flower.server import ANN, BASIC_AUTH, Answer, FlowerServer, Visitor, flower

pytestmark = pytest.mark.integration

ACTIONS = ["retry", "complete", "fail", "close", "cancel"]


@pytest.fixture
def ann(tmp_path: Path) -> Iterator[Visitor]:
    """Of a Flower where nothing has been done yet."""
    with flower(SHOP, BASIC_AUTH, directory=tmp_path) as server:
        yield server.visitor(ANN)


@pytest.fixture(scope="module")
def server(start_flower: StartFlower) -> FlowerServer:
    """For what is refused, and so changes nothing."""
    return start_flower(SHOP, env={"FLOWER_UNAUTHENTICATED_API": "true"})


def story(visitor: Visitor, process_id: str) -> dict:  # type: ignore[type-arg]
    return dict(visitor.get(f"/api/trellis/processes/{process_id}").data)


def step(visitor: Visitor, process_id: str, name: str) -> dict:  # type: ignore[type-arg]
    return next(one for one in story(visitor, process_id)["process"]["steps"] if one["name"] == name)


def confirm(visitor: Visitor, process_id: str, action: str, **form: str) -> Answer:
    """Open the page that asks, and send its form."""
    path = f"/trellis/process/{process_id}/{action}"
    page = visitor.get(path, **({"step": form["step"]} if "step" in form else {}))
    return visitor.post_form(path, {"_xsrf": page.token(), **form})


def test_an_incident_is_retried_after_a_question_and_the_log_says_by_whom(ann: Visitor) -> None:
    process_id = ann.process_id("order-1073")

    asked = ann.get(f"/trellis/process/{process_id}/retry", step="charge_card", back="incidents")
    form = {"_xsrf": asked.token(), "step": "charge_card", "attempt": "3", "back": "incidents"}
    done = ann.post_form(f"/trellis/process/{process_id}/retry", form)
    after = ann.get(done.headers["Location"])
    again = ann.get(done.headers["Location"])

    assert "The step is tried again as a new attempt" in asked.text
    assert "gave up after attempt 3" in asked.text
    assert (done.status, done.headers["Location"]) == (303, "/trellis/incidents")
    assert "charge_card: The step is tried again" in after.text
    assert "tried again" not in again.text
    assert "order-1073" not in after.text
    assert (step(ann, process_id, "charge_card")["state"], step(ann, process_id, "charge_card")["attempt"]) == (
        "pending",
        4,
    )
    last = story(ann, process_id)["history"][-1]
    assert (last["kind"], last["step"], last["by"]) == ("step_reopened", "charge_card", "ann via Flower")
    assert "ann via Flower" in ann.get(f"/trellis/process/{process_id}").text


def test_each_button_does_what_it_says(ann: Visitor) -> None:
    order, failed, referral = (ann.process_id(name) for name in ("order-1074", "order-1073", "ref-77"))

    confirm(ann, order, "complete", step="confirm_delivery")
    confirm(ann, order, "fail", step="pack", reason="the parcel is broken")
    confirm(ann, failed, "close", step="charge_card", reason="paid in cash")
    confirm(ann, referral, "cancel", reason="not wanted any more")

    assert step(ann, order, "confirm_delivery")["state"] == "completed"
    assert step(ann, order, "pack")["last_error"] == "the parcel is broken"
    assert not step(ann, failed, "charge_card")["has_incident"]
    assert story(ann, referral)["process"]["state"] == "cancelled"
    told = [
        (event["kind"], event["detail"], event["by"])
        for process_id in (order, failed, referral)
        for event in story(ann, process_id)["history"]
        if event["by"]
    ]
    assert told == [
        ("step_completed", "", "ann via Flower"),
        ("step_failed", "the parcel is broken", "ann via Flower"),
        ("incident_closed", "paid in cash", "ann via Flower"),
        ("step_cancelled", "not wanted any more", "ann via Flower"),
    ]
    assert ann.get("/api/trellis/incidents").data["incidents"] == []


def test_what_was_given_up_is_completed_if_it_was_done_in_another_way(ann: Visitor) -> None:
    process_id = ann.process_id("order-1073")

    confirm(ann, process_id, "complete", step="charge_card", attempt="3")

    charged = step(ann, process_id, "charge_card")
    assert (charged["state"], charged["has_incident"]) == ("completed", False)
    assert story(ann, process_id)["process"]["state"] == "in_progress"
    assert "order-1073" not in ann.get("/trellis/incidents").text


def test_by_the_api_the_same_is_done(ann: Visitor) -> None:
    order, failed = ann.process_id("order-1074"), ann.process_id("order-1073")
    path = f"/api/trellis/processes/{order}"

    completed = ann.post_json(f"{path}/steps/confirm_delivery/complete")
    refused = ann.post_json(f"{path}/steps/pack/fail", {"reason": "wet", "attempt": 7})
    failing = ann.post_json(f"{path}/steps/pack/fail", {"reason": "wet", "attempt": 1})
    retried = ann.post_json(f"/api/trellis/processes/{failed}/steps/charge_card/retry", {})
    cancelled = ann.post_json(f"/api/trellis/processes/{failed}/cancel", {"reason": "enough"})

    assert (completed.status, completed.data["done"]) == (200, "complete")
    assert (refused.status, refused.data["error"]["kind"]) == (409, "AnotherAttempt")
    assert (failing.status, failing.data["process"]["state"]) == (200, "failed")
    assert (retried.status, retried.data["process"]["state"]) == (200, "in_progress")
    assert (cancelled.status, cancelled.data["process"]["state"]) == (200, "cancelled")
    by = {event["kind"]: event["by"] for event in story(ann, failed)["history"]}
    assert (by["step_reopened"], by["step_cancelled"]) == ("ann via Flower", "ann via Flower")


def test_without_a_login_flower_has_done_it_whoever_claims_to_be_there(server: FlowerServer) -> None:
    visitor = server.visitor(login=("somebody", "nobody has checked"))
    process_id = visitor.process_id("order-1090")

    visitor.post_json(f"/api/trellis/processes/{process_id}/steps/reserve_stock/complete")

    assert [event["by"] for event in story(visitor, process_id)["history"]] == ["", "Flower"]


def test_a_second_click_and_a_stale_page_change_nothing(ann: Visitor) -> None:
    process_id = ann.process_id("order-1073")
    first = confirm(ann, process_id, "retry", step="charge_card", attempt="3")
    token = ann.get(f"/trellis/process/{process_id}/cancel").token()
    form = {"_xsrf": token, "step": "charge_card", "attempt": "3"}

    second = ann.post_form(f"/trellis/process/{process_id}/retry", form)
    stale = ann.post_form(f"/trellis/process/{process_id}/fail", {**form, "reason": "I saw it fail"})
    opened = ann.get(f"/trellis/process/{process_id}/retry", step="charge_card")

    assert (first.status, second.status, stale.status) == (303, 409, 409)
    assert "is at attempt 4 by now, not at 3" in stale.text
    assert "somebody may have been faster" in opened.text
    assert "<form" not in opened.text
    assert step(ann, process_id, "charge_card")["attempt"] == 4


@pytest.mark.parametrize(
    ("order", "name", "action", "status"),
    [
        ("order-1001", "pack", "retry", 409),
        ("order-1001", "pack", "fail", 409),
        ("order-1001", "pack", "close", 409),
        ("order-1074", "pack", "retry", 409),
        ("order-1074", "no such step", "complete", 404),
        ("order-1074", MARKUP, "fail", 404),
        ("order-1074", "", "fail", 404),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(
    server: FlowerServer, order: str, name: str, action: str, status: int
) -> None:
    visitor = server.visitor()
    process_id = visitor.process_id(order)
    before = story(visitor, process_id)["history"]
    token = visitor.get(f"/trellis/process/{visitor.process_id('order-1074')}/cancel").token()

    form = {"_xsrf": token, "step": name, "reason": "because"}
    by_form = visitor.post_form(f"/trellis/process/{process_id}/{action}", form)
    quoted = name.replace("/", "%2F").replace(" ", "%20") or "%20"
    path = f"/api/trellis/processes/{process_id}/steps/{quoted}/{action}"
    by_api = visitor.post_json(path, {"reason": "because"})

    assert (by_form.status, by_api.status) == (status, status)
    assert by_api.data["error"]["message"]
    assert "<script>alert" not in by_form.text
    assert story(visitor, process_id)["history"] == before


def test_a_finished_process_is_not_cancelled(server: FlowerServer) -> None:
    visitor = server.visitor()

    answer = visitor.post_json(f"/api/trellis/processes/{visitor.process_id('order-1001')}/cancel")

    assert (answer.status, answer.data["error"]["kind"]) == (409, "InvalidTransition")
    assert "completed" in answer.data["error"]["message"]


@pytest.mark.parametrize("reason", ["", "   ", "x" * 2001])
def test_a_step_is_failed_only_with_a_reason_of_a_sensible_length(server: FlowerServer, reason: str) -> None:
    visitor = server.visitor()
    process_id = visitor.process_id("order-1074")

    by_form = confirm(visitor, process_id, "fail", step="pack", reason=reason)
    by_api = visitor.post_json(f"/api/trellis/processes/{process_id}/steps/pack/fail", {"reason": reason})

    assert (by_form.status, by_api.status) == (400, 400)
    assert step(visitor, process_id, "pack")["state"] == "in_progress"


@pytest.mark.fault("X10")
@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'{"reason": 1}', b'{"colour": "red"}', b"\xff\xfe", b"reason=x", b'{"reason":' + 100_000 * b"["],
    ids=lambda body: body[:12].decode(errors="replace"),
)
def test_a_body_that_is_not_what_is_asked_for_is_refused(server: FlowerServer, body: bytes) -> None:
    visitor = server.visitor()
    process_id = visitor.process_id("order-1074")

    answer = visitor.ask("POST", f"/api/trellis/processes/{process_id}/steps/pack/fail", body)

    assert (answer.status, answer.data["error"]["kind"]) == (400, "BadBody")
    assert step(visitor, process_id, "pack")["state"] == "in_progress"


def test_a_reason_keeps_no_characters_that_nobody_can_see(ann: Visitor) -> None:
    process_id = ann.process_id("order-1074")

    confirm(ann, process_id, "fail", step="pack", reason=f"{MARKUP}\u202e\nsecond line")

    assert step(ann, process_id, "pack")["last_error"] == f"{MARKUP}\\u202e\nsecond line"
    assert "<script>alert" not in ann.get(f"/trellis/process/{process_id}").text


@pytest.mark.parametrize("back", ["https://evil.example", "//evil.example", MARKUP])
def test_afterwards_one_is_led_to_a_page_of_ours(ann: Visitor, back: str) -> None:
    process_id = ann.process_id("order-1074")

    done = confirm(ann, process_id, "complete", step="confirm_delivery", back=back)

    assert (done.status, done.headers["Location"]) == (303, f"/trellis/process/{process_id}")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_process_that_is_not_there_cannot_be_acted_on(server: FlowerServer, action: str) -> None:
    visitor = server.visitor()
    token = visitor.get(f"/trellis/process/{visitor.process_id('order-1074')}/cancel").token()

    asked = visitor.get(f"/trellis/process/0-{'0' * 32}/{action}", step="x")
    done = visitor.post_form(f"/trellis/process/0-{'0' * 32}/{action}", {"_xsrf": token, "step": "x", "reason": "y"})

    assert (asked.status, done.status) == (404, 404)
