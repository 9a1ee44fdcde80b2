"""Which headers are believed when there is a key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from trellis_celery.domain.process import Process
from trellis_celery.domain.step import ProcessStep
from trellis_celery.plugin import headers
from trellis_celery.plugin.headers import Header
from trellis_celery.plugin.signing import NO_KEY, Signer

KEY, OTHER = "the key that signs", "another key, as long"
SIGNER = Signer([KEY])


def a_header(aggregate_id: str = "r-1") -> Header:
    process = Process.start(
        tenant_id="t",
        process_type="Intake",
        aggregate_type="Referral",
        aggregate_id=aggregate_id,
        steps=[ProcessStep("check", timeout_ms=1_000, retries_permitted=2)],
        now_ms=1,
    )
    header = headers.of_step(process.id, "Intake", process.step("check").stored_as(3), task_id="task-1")
    return replace(header, attempt=1, run_id="run", traceparent="00-1-2-01")


HEADER = a_header()


def a_message(header: Header = HEADER, *, signer: Signer = SIGNER, **more: Any) -> dict[str, Any]:
    """The headers of a message that was sent with this header."""
    message: dict[str, Any] = {"id": "task-1", "task": "intake.check", "retries": 1, **more}
    headers.write(header, message, signer)
    return message


def test_what_was_signed_for_a_message_is_believed() -> None:
    assert headers.trusted(a_message(), SIGNER) == HEADER


def test_a_header_in_a_nested_dict_alone_is_believed_for_the_same_message() -> None:
    message = a_message(headers={"sentry-trace": "x"})
    del message[headers.NAME]

    assert headers.trusted(message, SIGNER) == HEADER


def test_without_a_key_nothing_is_signed_and_everything_believed() -> None:
    message = a_message(signer=NO_KEY)

    assert set(message[headers.NAME]) == set(HEADER.to_wire())
    assert headers.trusted(message, NO_KEY) == HEADER
    assert headers.trusted(a_message(), NO_KEY) == HEADER


def test_what_nobody_or_another_signed_is_not_believed() -> None:
    assert headers.trusted(a_message(signer=NO_KEY), SIGNER) is None
    assert headers.trusted(a_message(signer=Signer([OTHER])), SIGNER) is None


OTHERS: dict[str, Any] = {
    "v": 2,
    "process": a_header("r-2").process_id,
    "type": "Outtake",
    "step": "pay",
    "task": "task-2",
    "attempt": 2,
    "run": "another",
    "version": 4,
    "record": HEADER.to_wire()["record"].replace("1000", "9000"),
    "trace": "00-3-4-01",
}


@pytest.mark.fault("X6")
@pytest.mark.parametrize("field", HEADER.to_wire())
def test_a_header_with_one_field_changed_or_left_out_is_not_believed(field: str) -> None:
    for change in ({field: OTHERS[field]}, {field: None}, {"claim": 1}, {"by": "run"}, {"digest": "0a"}):
        message = a_message()
        message[headers.NAME] |= change

        assert headers.trusted(message, SIGNER) is None


@pytest.mark.fault("X6")
@given(data=st.data())
def test_a_message_with_one_byte_flipped_is_not_believed_or_says_the_same(data: st.DataObject) -> None:
    text = bytearray(json.dumps(a_message()).encode())
    place = data.draw(st.integers(0, len(text) - 1))
    text[place] ^= data.draw(st.integers(1, 255))
    try:
        changed = json.loads(text)
    except ValueError:
        return  # no broker hands this on

    found = headers.trusted(changed, SIGNER) if isinstance(changed, dict) else None

    assert found is None or (found == HEADER and {**changed, headers.NAME: ()} == {**a_message(), headers.NAME: ()})


@pytest.mark.fault("X6")
@pytest.mark.parametrize("other", [{"id": "task-2"}, {"task": "intake.drop"}, {"retries": 2}, {"retries": None}])
def test_a_header_that_was_copied_to_another_message_is_not_believed(other: dict[str, Any]) -> None:
    assert headers.trusted(a_message() | other, SIGNER) is None


@pytest.mark.fault("X6")
def test_a_signature_that_was_copied_to_a_header_of_another_process_is_not_believed() -> None:
    message = a_message(a_header("r-2"), signer=NO_KEY)
    message[headers.NAME]["sig"] = a_message()[headers.NAME]["sig"]

    assert headers.trusted(message, SIGNER) is None


def test_a_message_that_was_never_retried_is_the_same_with_and_without_a_count() -> None:
    message = a_message(retries=0)

    assert headers.trusted(message | {"retries": None}, SIGNER) == HEADER


def test_a_run_that_a_worker_names_is_signed_anew() -> None:
    message = a_message()

    headers.name_run(message, task_id="task-1", run_id="second", signer=SIGNER)

    assert headers.trusted(message, SIGNER) == replace(HEADER, run_id="second", sent_by="run")


def test_keys_are_exchanged_without_a_message_that_is_not_believed() -> None:
    old, both, new = Signer([OTHER]), Signer([OTHER, KEY]), Signer([KEY, OTHER])

    for sender, receiver in ((old, both), (both, old), (both, new), (new, both), (old, new), (SIGNER, new)):
        assert headers.trusted(a_message(signer=sender), receiver) == HEADER
    assert headers.trusted(a_message(signer=old), SIGNER) is None


def test_a_first_key_is_given_out_without_a_message_that_is_not_believed() -> None:
    in_between = Signer([KEY, ""])

    assert headers.trusted(a_message(signer=NO_KEY), in_between) == HEADER
    assert headers.trusted(a_message(signer=in_between), SIGNER) == HEADER
    assert headers.trusted(a_message(signer=in_between), NO_KEY) == HEADER
    assert headers.trusted(a_message(signer=Signer([OTHER])), in_between) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(wire=JSON, changes=st.dictionaries(st.sampled_from([*OTHERS, "sig", "by", "claim"]), JSON), retries=JSON)
def test_whatever_is_in_a_header_reading_it_never_raises(wire: Any, changes: dict[str, Any], retries: Any) -> None:
    honest = a_message(retries=0)

    assert headers.trusted({**honest, headers.NAME: wire}, SIGNER) is None
    found = headers.trusted({**honest, headers.NAME: honest[headers.NAME] | changes, "retries": retries}, SIGNER)
    assert found in (None, HEADER)


def test_depths_without_end_are_no_error_either() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]

    assert headers.trusted({**a_message(), "id": deep}, SIGNER) is None


def test_fingerprints_tell_keys_apart_and_show_none() -> None:
    fingerprints = Signer([KEY, OTHER, ""]).fingerprint.split(",")

    assert fingerprints == [Signer([KEY]).fingerprint, Signer([OTHER]).fingerprint, "unsigned"]
    assert not any(part in fingerprint for fingerprint in fingerprints for part in (KEY, OTHER))
    assert NO_KEY.fingerprint == ""
