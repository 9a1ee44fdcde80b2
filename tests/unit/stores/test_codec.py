from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain.events import Event, EventKind
from trellis_celery.domain.identity import MAX_IDENTIFIER_LENGTH, BusinessKey
from trellis_celery.domain.step import DeadlineKind, OnTimeout, ProcessStep, StepState
from trellis_celery.stores import codec

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
TIMES = st.none() | st.integers(0, 2**53)

STEPS = st.builds(
    ProcessStep,
    st.just("step"),
    version=st.integers(1, 2**31),
    timeout_ms=st.none() | st.integers(1, 10**10),
    retries_permitted=st.integers(0, 1_000),
    queue_timeout_ms=st.integers(1, 10**10),
    on_timeout=st.sampled_from(OnTimeout),
    backoff_ms=st.integers(0, 10**10),
    backoff_max_ms=st.integers(1, 10**10),
    external=st.booleans(),
    state=st.sampled_from(StepState),
    attempt=st.integers(0, 2_000),
    retry_count=st.integers(0, 1_000),
    resend_count=st.integers(0, 1_000),
    deadline_ms=TIMES,
    deadline_kind=st.none() | st.sampled_from(DeadlineKind),
    task_id=st.none() | TEXT,
    args_digest=st.none() | TEXT,
    run_id=st.none() | TEXT,
    is_leased=st.booleans(),
    finishing_at_ms=st.none() | st.integers(0, 2**53),
    started_at_ms=TIMES,
    finished_at_ms=TIMES,
    worker=st.none() | TEXT,
    last_error=st.none() | TEXT,
)


@given(STEPS)
def test_a_record_is_read_as_it_was_written(step: ProcessStep) -> None:
    assert codec.load_step(codec.dump_step(step), name=step.name, version=step.version) == step


def test_what_some_stores_cannot_hold_is_replaced_in_texts_from_outside() -> None:
    step = replace(ProcessStep("step"), worker="a\0b", last_error="c\0\ud800", version=1)

    stored = codec.load_step(codec.dump_step(step), name="step", version=1)

    assert (stored.worker, stored.last_error) == ("a\ufffdb", "c\ufffd?")


def test_every_field_of_a_record_is_stored_but_its_name_and_version() -> None:
    stored = set(codec._FIELDS)
    declared = set(ProcessStep.__struct_fields__)

    assert declared - stored == {"name", "version"}


def test_a_record_in_the_first_format_is_read_for_ever() -> None:
    data = (
        b'[1,30000,3,900000,"retry",0,3600000,false,"in_progress",2,1,0,1800000030000,"run","task","digest","run-1",'
        b'true,false,1800000000000,null,"worker@host",null]'
    )

    step = codec.load_step(data, name="step", version=7)

    assert (step.deadline_ms, step.worker, step.celery_retries) == (1_800_000_030_000, "worker@host", 0)
    assert codec.load_step(codec.dump_step(step), name="step", version=7) == step
    assert (step.attempt, step.state, step.deadline_kind) == (2, StepState.IN_PROGRESS, DeadlineKind.RUN)
    assert not step.is_finishing


def test_a_record_without_the_time_since_when_its_run_finishes_is_finishing_all_the_same() -> None:
    data = json.loads(codec.dump_step(ProcessStep("step", started_at_ms=7, finishing_at_ms=9, version=1)))

    step = codec.load_step(json.dumps(data[:-1]), name="step", version=1)

    assert (step.is_finishing, step.seen_alive_at_ms) == (True, 7)


def test_a_field_that_a_newer_release_added_at_the_end_is_passed_over() -> None:
    written = ProcessStep("step", finishing_at_ms=1, version=1)  # the last field that this release knows
    data = json.loads(codec.dump_step(written))

    step = codec.load_step(json.dumps([*data, "new", {"field": 1}]), name="step", version=1)

    assert step == written


def test_what_is_as_it_was_when_the_record_was_new_takes_no_room() -> None:
    declared = codec.dump_step(ProcessStep("step", timeout_ms=30_000, retries_permitted=3))
    started = codec.dump_step(ProcessStep("step", state=StepState.IN_PROGRESS, attempt=1))

    assert declared == b'[1,30000,3,900000,"retry",0,3600000]'
    assert started == b'[1,null,0,900000,"retry",0,3600000,false,"in_progress",1]'


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"null", b"[1]", b"nonsense", b"\xff", b"[1,2,3", b'[1,"x",0,1,"retry",0,1,false]']
)
def test_what_is_no_record_is_corrupt(data: bytes) -> None:
    with pytest.raises(errors.CorruptRecord, match="step"):
        codec.load_step(data, name="step", version=1)


def test_a_record_of_an_unknown_format_is_corrupt() -> None:
    data = json.loads(codec.dump_step(ProcessStep("step")))
    data[0] = 2

    with pytest.raises(errors.CorruptRecord, match="format 2"):
        codec.load_step(json.dumps(data), name="step", version=1)


@pytest.mark.parametrize(("name", "timeout_ms"), [("step", -5), ("step\n", 5)])
def test_a_record_that_could_not_have_been_declared_is_corrupt(name: str, timeout_ms: int) -> None:
    data = json.loads(codec.dump_step(ProcessStep("step")))
    data[1] = timeout_ms

    with pytest.raises(errors.CorruptRecord, match=r"timeout_ms|step name"):
        codec.load_step(json.dumps(data), name=name, version=0)


def test_a_state_that_is_not_known_is_corrupt() -> None:
    data = codec.dump_step(ProcessStep("step", state=StepState.FAILED)).replace(b'"failed"', b'"paused"')

    with pytest.raises(errors.CorruptRecord, match="paused"):
        codec.load_step(data, name="step", version=1)


def test_a_long_error_is_shortened_and_broken_unicode_replaced() -> None:
    step = ProcessStep("step", last_error="\ud800" + "x" * 10 * codec.MAX_TEXT)

    stored = codec.load_step(codec.dump_step(step), name="step", version=1)

    assert stored.last_error == "?" + "x" * (codec.MAX_TEXT - 1) + "…"


@given(st.builds(Event, st.sampled_from(EventKind), TEXT, st.integers(0, 99), st.integers(0, 2**53), TEXT))
def test_an_event_is_read_as_it_was_written(event: Event) -> None:
    assert codec.load_event(codec.dump_event(event)) == event


@pytest.mark.parametrize("data", [b"", b"[]", b'["step_flown","",0,0]', b"\xff", b'["step_started",1,0,0]'])
def test_what_is_no_event_is_corrupt(data: bytes) -> None:
    with pytest.raises(errors.CorruptRecord):
        codec.load_event(data)


PARTS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=MAX_IDENTIFIER_LENGTH)
KEYS = st.builds(BusinessKey, tenant_id=PARTS, process_type=PARTS, aggregate_type=PARTS, aggregate_id=PARTS)


@given(KEYS, KEYS)
def test_only_the_same_business_key_has_the_same_form(one: BusinessKey, other: BusinessKey) -> None:
    assert (codec.dump_business_key(one) == codec.dump_business_key(other)) is (one == other)


@pytest.mark.parametrize("value", [object(), {1}, float, 1j, b"", Decimal(1), float("nan"), date(2026, 1, 1)])
def test_metadata_that_is_no_json_is_refused_where_it_enters(value: Any) -> None:
    with pytest.raises(errors.DefinitionError, match="metadata"):
        codec.dump_json({"key": value})


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"nonsense"])
def test_what_is_no_json_is_corrupt(data: bytes) -> None:
    with pytest.raises(errors.CorruptRecord):
        codec.load_json(data)
