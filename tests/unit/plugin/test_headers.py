from __future__ import annotations

from typing import Any

import pytest

from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.plugin import headers
from trellis_celery.plugin.headers import Header


def a_process() -> Process:
    return Process.start(
        tenant_id="t",
        process_type="Intake",
        aggregate_type="Referral",
        aggregate_id="r-1",
        steps=[ProcessStep("check", timeout_ms=1_000, retries_permitted=2)],
        now_ms=1,
    )


def test_a_header_that_was_written_is_read_back_with_the_steps_record() -> None:
    process = a_process()
    written = headers.of_step(process.id, "Intake", process.step("check"), task_id="task-1")
    message_headers: dict[str, Any] = {"id": "task-1"}

    headers.write(written, message_headers)

    assert headers.read(message_headers) == written


def test_a_header_goes_into_a_nested_headers_dict_too_because_celery_hands_on_only_that_one() -> None:
    process = a_process()
    message_headers: dict[str, Any] = {"id": "task-1", "headers": {"sentry-trace": "x"}}

    headers.write(Header(process_id=process.id, process_type="Intake"), message_headers)

    assert headers.read(message_headers["headers"]) == headers.read(message_headers)
    assert headers.read({"headers": message_headers["headers"]}) is not None


def test_a_message_does_the_step_only_under_the_task_id_in_its_header() -> None:
    process = a_process()
    header = headers.of_step(process.id, "Intake", process.step("check"), task_id="task-1")

    assert header.is_for("task-1")
    assert not header.is_for("another")
    assert not header.is_for(None)
    assert not header.without_step().is_for("task-1")


def test_a_header_carries_what_started_the_process_in_a_trace_even_where_it_does_no_step() -> None:
    process = a_process()
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    header = headers.of_step(process.id, "Intake", process.step("check"), task_id="task-1", traceparent=traceparent)

    for written in (header, header.without_step()):
        assert headers.from_wire(written.to_wire()) == written
        assert written.traceparent == traceparent


@pytest.mark.parametrize("forged", [None, 7, [], {}, b"00-ab", "1" * 513])
def test_a_place_in_a_trace_that_cannot_be_one_is_not_taken_over(forged: Any) -> None:
    wire = Header(process_id=a_process().id, process_type="Intake").to_wire() | {"trace": forged}

    header = headers.from_wire(wire)

    assert header is not None
    assert header.traceparent is None


@pytest.mark.parametrize(
    "wire",
    [
        None,
        "text",
        [],
        {},
        {"process": 1, "type": "Intake"},
        {"process": "3-" + "g" * 32, "type": "Intake"},
        {"process": "../../etc/passwd", "type": "Intake"},
        {"process": "3-" + "0" * 32, "type": None},
    ],
)
def test_a_header_that_makes_no_sense_is_as_good_as_none(wire: Any) -> None:
    assert headers.from_wire(wire) is None


@pytest.mark.parametrize(
    "damage",
    [
        {"record": "not json"},
        {"record": "[1]"},
        {"record": 7},
        {"version": 0},
        {"version": "1"},
        {"record": "[99,null,0,1]"},
    ],
)
def test_a_damaged_record_costs_a_round_trip_and_nothing_else(damage: dict[str, Any]) -> None:
    process = a_process()
    wire = headers.of_step(process.id, "Intake", process.step("check"), task_id="task-1").to_wire() | damage

    header = headers.from_wire(wire)

    assert header is not None
    assert header.record is None
    assert header.is_for("task-1")
