from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

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


def test_a_call_that_the_store_was_not_told_of_says_which_call_it_is() -> None:
    process = a_process()
    written = replace(headers.of_step(process.id, "Intake", process.step("check"), task_id="task-1"), args_digest="0a")
    message_headers: dict[str, Any] = {"id": "task-1"}

    headers.write(written, message_headers)

    assert headers.read(message_headers) == written
    assert headers.from_wire(written.to_wire() | {"digest": "0" * 1_000}) == replace(written, args_digest=None)
    assert written.without_step().args_digest is None


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


def test_a_received_message_says_which_run_it_becomes_and_which_run_sent_it() -> None:
    process = a_process()
    sent = replace(headers.of_step(process.id, "Intake", process.step("check"), task_id="task-1"), run_id="first")
    nested = {"sentry-trace": "x"}
    received: dict[str, Any] = {"id": "task-1", "headers": nested}
    headers.write(sent, received)

    headers.name_run(received, task_id="task-1", run_id="second")

    for place in (received, received["headers"]):
        header = headers.read(place)
        assert header is not None
        assert (header.run_id, header.sent_by) == ("second", "first")
    assert nested == {"sentry-trace": "x"}


def test_a_task_that_does_no_step_becomes_no_run() -> None:
    process = a_process()
    of_the_parent = headers.of_step(process.id, "Intake", process.step("check"), task_id="task-1")
    received: dict[str, Any] = {"id": "task-2"}
    headers.write(of_the_parent, received)

    headers.name_run(received, task_id="task-2", run_id="second")

    assert headers.read(received) == of_the_parent


@pytest.mark.parametrize("forged", [7, None, [], {"a": 1}, "x" * 33])
def test_a_run_that_cannot_be_one_is_not_taken_over(forged: Any) -> None:
    process = a_process()
    received: dict[str, Any] = {"id": "task-1"}
    headers.write(headers.of_step(process.id, "Intake", process.step("check"), task_id="task-1"), received)
    received[headers.NAME]["run"] = forged

    headers.name_run(received, task_id="task-1", run_id="second")

    header = headers.read(received)
    assert header is not None
    assert (header.run_id, header.sent_by) == ("second", None)


@pytest.mark.parametrize("wire", [None, "text", 7, [], {}])
def test_a_message_without_a_header_of_ours_is_received_as_it_is(wire: Any) -> None:
    received: dict[str, Any] = {"id": "task-1", headers.NAME: wire, "headers": None}

    headers.name_run(received, task_id="task-1", run_id="second")

    assert received == {"id": "task-1", headers.NAME: wire, "headers": None}
