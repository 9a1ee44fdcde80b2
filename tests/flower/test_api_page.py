"""The page of the JSON API keeps its word."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.flower.conftest import SHOP, StartFlower
from tests.flower.server import ANN, BASIC_AUTH, FlowerServer, Visitor
from trellis_celery.flower.query import WORDS

PAGE = (Path(__file__).parents[2] / "docs/reference/flower-api.md").read_text()
EXAMPLES = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
LIST, STORY, INCIDENTS, STATS, CHECK, ERROR = EXAMPLES


@pytest.fixture(scope="module")
def shop(start_flower: StartFlower) -> FlowerServer:
    return start_flower(SHOP, BASIC_AUTH)


@pytest.fixture
def ann(shop: FlowerServer) -> Visitor:
    return shop.visitor(ANN)


def test_the_page_lists_every_route_there_is_and_no_other() -> None:
    from trellis_celery.flower.routes import _routes

    listed = re.findall(r"^\| `(GET|POST) (/api/trellis/\S+)` \|", PAGE, re.MULTILINE)
    of_api = [
        spec for spec in _routes() if spec.regex.pattern.startswith("/api/trellis/") and "?.*" not in spec.regex.pattern
    ]

    reached = []
    for method, path in listed:
        [spec] = [each for each in of_api if each.regex.fullmatch(path)]
        assert method.lower() in vars(spec.handler_class), f"{method} {path}"
        reached.append(spec)
    assert {spec.regex.pattern for spec in reached} == {spec.regex.pattern for spec in of_api}
    actions = re.findall(r"/(\w+)$", "\n".join(path for method, path in listed if method == "POST"), re.MULTILINE)
    offered = {
        word
        for spec in of_api
        for group in re.findall(r"\(([a-z|]+)\)", spec.regex.pattern)
        for word in group.split("|")
    }
    assert set(actions) == offered


def test_the_page_lists_every_parameter_of_a_list() -> None:
    section = PAGE.partition("## Lists")[2].partition("```json")[0]
    first_cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)

    assert sorted(re.findall(r"`(\w+)`", " ".join(first_cells))) == sorted(WORDS)


@pytest.mark.integration
def test_answers_have_the_shape_of_the_examples(ann: Visitor) -> None:
    rescued = ann.process_id("order-1074")

    assert shape(ann.get("/api/trellis/processes?tenant=acme&state=in_progress&limit=1").data) == shape(LIST)
    assert shape(ann.get("/api/trellis/check").data) == shape(CHECK)
    assert set(ann.get("/api/trellis/stats").data) == set(STATS)
    assert shape(ann.get("/api/trellis/stats").data["processes"][0]) == shape(STATS["processes"][0])
    assert shape(ann.get("/api/trellis/stats").data["events"][0]) == shape(STATS["events"][0])
    assert set(ann.get("/api/trellis/incidents").data["incidents"][0]) == set(INCIDENTS["incidents"][0])
    story = ann.get(f"/api/trellis/processes/{rescued}").data
    assert set(story) == set(STORY)
    charged = next(step for step in story["process"]["steps"] if step["name"] == "charge_card")
    assert (charged["attempt"], set(charged)) == (2, set(STORY["process"]["steps"][0]))
    assert set(story["process"]) == set(STORY["process"])
    row = next(row for row in story["timeline"]["rows"] if row["step"] == "charge_card")
    assert "lost" in [span["kind"] for span in row["spans"]]
    assert "reenqueued" in [mark["kind"] for mark in row["marks"]]
    expected = STORY["timeline"]["rows"][0]
    assert (set(row["spans"][0]), set(row["marks"][0])) == (set(expected["spans"][0]), set(expected["marks"][0]))
    assert shape(story["history"][0]) == shape(STORY["history"][0])


def shape(value: Any) -> Any:
    """The names in it, without what stands for them."""
    if isinstance(value, dict):
        counts_by_state = set(value) <= {"pending", "in_progress", "completed", "failed", "cancelled"}
        return {} if counts_by_state else {name: shape(part) for name, part in value.items()}
    return [shape(part) for part in value] if isinstance(value, list) else None


STEP = "/api/trellis/processes/{id}/steps/pack"


@pytest.mark.integration
@pytest.mark.parametrize(
    ("request_line", "body", "status", "kind"),
    [
        (f"POST {STEP}/fail", b"", 400, "ReasonMissing"),
        (f"POST {STEP}/fail", json.dumps({"reason": "x" * 2001}).encode(), 400, "ReasonTooLong"),
        (f"POST {STEP}/complete", b"[", 400, "BadBody"),
        (f"POST {STEP}/complete", b'{"force": true}', 400, "BadBody"),
        ("GET /api/trellis/processes?limit=0", b"", 400, "DefinitionError"),
        ("GET /api/trellis/incidents?order=state", b"", 400, "DefinitionError"),
        ("GET /api/trellis/processes?tenent=acme", b"", 400, "DefinitionError"),
        ("GET /api/trellis/processes?tenant=" + "x" * 600, b"", 400, "InvalidIdentifier"),
        ("GET /api/trellis/processes/nonsense", b"", 404, "ProcessNotFound"),
        ("GET /api/trellis/processes/0-" + "0" * 32, b"", 404, "ProcessNotFound"),
        ("POST /api/trellis/processes/{id}/steps/nope/complete", b"", 404, "StepNotFound"),
        ("GET /api/trellis/nothing", b"", 404, "NotFound"),
        (f"GET {STEP}/complete", b"", 405, "MethodNotAllowed"),
        (f"POST {STEP}/complete", b'{"attempt": 7}', 409, "AnotherAttempt"),
        (f"POST {STEP}/retry", b"", 409, "InvalidTransition"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_told_as_the_page_says(
    ann: Visitor, request_line: str, body: bytes, status: int, kind: str
) -> None:
    rescued = ann.process_id("order-1074")
    method, path = request_line.format(id=rescued).split(" ")

    answer = ann.ask(method, path, body)

    assert (answer.status, answer.data["error"]["kind"]) == (status, kind)
    assert set(answer.data["error"]) == set(ERROR["error"])
    [row] = re.findall(rf"^\| {status} \| .*$", PAGE, re.MULTILINE)
    assert f"`{kind}`" in row


@pytest.mark.integration
def test_a_change_is_answered_with_the_process_and_logged_with_who_did_it(ann: Visitor) -> None:
    gave_up = ann.process_id("order-1073")

    answer = ann.post_json(f"/api/trellis/processes/{gave_up}/steps/charge_card/close", {"reason": "paid in cash"})

    assert (answer.status, answer.data["done"]) == (200, "close")
    assert answer.data["process"]["has_incident"] is False
    last = ann.get(f"/api/trellis/processes/{gave_up}").data["history"][-1]
    assert (last["kind"], last["detail"], last["by"]) == ("incident_closed", "paid in cash", "ann via Flower")
