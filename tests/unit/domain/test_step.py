from typing import Any

import pytest

from trellis_celery import errors
from trellis_celery.domain.step import MAX_DURATION_MS, MAX_RETRIES, ProcessStep, StepState


@pytest.mark.fault("A11")
@pytest.mark.parametrize("timeout_ms", [0, -1, MAX_DURATION_MS + 1, 1.5, float("nan"), float("inf"), True, "1000"])
def test_a_timeout_that_makes_no_sense_is_refused(timeout_ms: Any) -> None:
    with pytest.raises(errors.DefinitionError, match="timeout_ms"):
        ProcessStep("step", timeout_ms=timeout_ms)


@pytest.mark.fault("X10")
@pytest.mark.parametrize("retries", [-1, MAX_RETRIES + 1, 1.0, False, None])
def test_a_number_of_retries_that_makes_no_sense_is_refused(retries: Any) -> None:
    with pytest.raises(errors.DefinitionError, match="retries_permitted"):
        ProcessStep("step", retries_permitted=retries)


@pytest.mark.parametrize(
    "fields",
    [
        {"queue_timeout_ms": None},
        {"queue_timeout_ms": 0},
        {"backoff_ms": -1},
        {"backoff_max_ms": 0},
        {"on_timeout": ""},
    ],
    ids=str,
)
def test_other_settings_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(errors.DefinitionError, match=next(iter(fields))):
        ProcessStep("step", **fields)


@pytest.mark.parametrize("name", ["", None, 7, "a\nb", "\ud800", "x" * 513])
def test_a_name_that_cannot_be_stored_is_refused(name: Any) -> None:
    with pytest.raises(errors.InvalidIdentifier, match="step name"):
        ProcessStep(name)


def test_a_record_does_not_change() -> None:
    step = ProcessStep("step")

    with pytest.raises(AttributeError, match="immutable"):
        step.state = StepState.COMPLETED  # type: ignore[misc]


@pytest.mark.parametrize("state", list(StepState))
def test_the_message_of_a_step_is_kept_as_long_as_it_may_be_sent_again(state: StepState) -> None:
    step = ProcessStep("step", state=state)

    assert step.needs_message is (state not in (StepState.COMPLETED, StepState.CANCELLED))


def test_a_retry_is_left_until_all_are_used() -> None:
    assert ProcessStep("step", retries_permitted=2, retry_count=1).can_retry()
    assert not ProcessStep("step", retries_permitted=2, retry_count=2).can_retry()
