from typing import Any

import pytest

from trellis_celery import errors
from trellis_celery.domain.definitions import ProcessType, Step, require_process_type, step_of_task
from trellis_celery.domain.step import OnTimeout, ProcessStep


class Referral(ProcessType, deadline_ms=60_000):
    send_email = Step(timeout_ms=30_000, retries_permitted=3, backoff_ms=100)
    charge = Step(on_timeout="alert", queue_timeout_ms=7_000)
    acknowledge = Step(timeout_ms=86_400_000, external=True)


def declare(**attributes: Any) -> type[ProcessType]:
    return type("Declared", (ProcessType,), attributes)


def test_a_process_type_has_its_steps_in_the_order_of_declaration() -> None:
    assert Referral.type_name == "Referral"
    assert Referral.deadline_ms == 60_000
    assert list(Referral.declared_steps) == ["send_email", "charge", "acknowledge"]
    assert Referral.send_email.process_type is Referral
    assert repr(Referral.send_email) == "Referral.send_email"


def test_a_process_starts_with_what_was_declared() -> None:
    send_email, charge, acknowledge = Referral.new_steps(queue_timeout_ms=5_000)

    assert send_email == ProcessStep(
        "send_email", timeout_ms=30_000, retries_permitted=3, backoff_ms=100, queue_timeout_ms=5_000
    )
    assert charge == ProcessStep("charge", on_timeout=OnTimeout.ALERT, queue_timeout_ms=7_000)
    assert acknowledge.external


def test_a_renamed_class_keeps_its_stored_name() -> None:
    class Renamed(ProcessType, name="Original"):
        step = Step()

    assert Renamed.type_name == "Original"


@pytest.mark.fault("A11")
@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({}, "declares no steps"),
        ({"step": Step(timeout_ms=0)}, r"Declared\.step: timeout_ms must be positive"),
        ({"step": Step(retries_permitted=-1)}, r"Declared\.step: retries_permitted"),
        ({"step": Step(on_timeout="explode")}, "must be 'retry' or 'alert', not 'explode'"),
        ({"step": Step(external=True, retries_permitted=1)}, "leave out retries_permitted"),
        ({"step": Step(task="a.task", external=True)}, "no task does it"),
        ({"new_steps": Step()}, "ProcessType uses this name itself"),
        ({"declared_steps": Step()}, "ProcessType uses this name itself"),
        ({f"step_{number}": Step() for number in range(10_001)}, "the most is 10000"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_declaration_is_refused_where_it_is_made(attributes: dict[str, Any], problem: str) -> None:
    with pytest.raises(errors.DefinitionError, match=problem):
        declare(**attributes)


@pytest.mark.fault("A11")
def test_steps_are_not_inherited() -> None:
    base = declare(step=Step())
    mixin = type("Mixin", (), {"step": Step()})

    for bases in ((base,), (mixin, ProcessType)):
        with pytest.raises(errors.DefinitionError, match=r"Derived would inherit \w+\.step"):
            type("Derived", bases, {"more": Step()})


@pytest.mark.fault("A11")
@pytest.mark.parametrize("value", ["Declared", ProcessType, Step, None, 5])
def test_what_is_no_process_type_is_told_from_one(value: object) -> None:
    declared = declare(step=Step())

    assert require_process_type(declared) is declared
    with pytest.raises(errors.DefinitionError, match="is needed, not"):
        require_process_type(value)


def test_a_step_may_name_its_task() -> None:
    declared = declare(step=Step(task="a.task"))

    assert step_of_task(declared.type_name, "a.task") is declared.declared_steps["step"]
    assert step_of_task(declared.type_name, "another.task") is None


def test_an_external_step_that_is_only_told_of_may_permit_retries() -> None:
    declared = declare(step=Step(external=True, retries_permitted=1, on_timeout="alert"))

    assert declared.declared_steps["step"].retries_permitted == 1


def test_one_step_object_under_two_names_is_refused() -> None:
    step = Step()

    with pytest.raises(errors.DefinitionError, match="are one Step object; make two"):
        declare(first=step, second=step)


@pytest.mark.fault("A10")
def test_a_stored_name_that_cannot_be_stored_is_refused() -> None:
    with pytest.raises(errors.InvalidIdentifier, match="process type"):

        class Nameless(ProcessType, name=""):
            step = Step()


@pytest.mark.fault("A11")
def test_a_deadline_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(errors.DefinitionError, match="leave it out for no deadline"):

        class Hopeless(ProcessType, deadline_ms=0):
            step = Step()


def test_a_process_type_is_not_instantiated() -> None:
    with pytest.raises(errors.DefinitionError, match=r"start one with Trellis\.start_process"):
        Referral()


def test_a_step_outside_of_a_process_type_belongs_to_none() -> None:
    with pytest.raises(errors.DefinitionError, match="not declared in the body"):
        _ = Step().process_type
