"""What is gathered of an app's declarations and tasks. Nothing is sent anywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from kombu import Queue

from trellis_celery import ProcessType, Step, Trellis, process_step
from trellis_celery.doctor.asking import declared
from trellis_celery.doctor.steps import StepFacts, TaskFacts


class Parcel(ProcessType):
    pack = Step(timeout_ms=10_000, retries_permitted=2)
    weigh = Step(timeout_ms=10_000, on_timeout="alert")
    hand_over = Step(external=True)
    bill = Step(task="accounts.bill")
    forgotten = Step()


@pytest.fixture
def trellis() -> Trellis:
    app = Celery("parcels", broker="memory://", set_as_current=False)
    app.conf.update(
        trellis_url="memory://", task_queues=[Queue("parcels"), Queue("scales")], task_default_queue="parcels"
    )
    app.conf.task_routes = {"parcels.weigh": {"queue": "scales"}}
    return Trellis(app)


def work() -> Callable[[], None]:
    """A body; each task needs one of its own, because bindings are written on it."""

    def body() -> None: ...

    return body


def facts_of(trellis: Trellis, name: str) -> StepFacts:
    trellis.app.finalize()
    found = {step.name: step for step in declared.ask(trellis, [Parcel]).steps}
    return found[f"Parcel.{name}"]


def task(trellis: Trellis, name: str = "parcels.pack", **options: Any) -> TaskFacts:
    """The facts of a bound task with these options."""
    app: Any = trellis.app
    process_step(Parcel.pack)(app.task(name=name, shared=False, **options)(work()))
    (found,) = facts_of(trellis, "pack").tasks
    return found


def test_a_step_is_found_with_its_declaration_and_its_task(trellis: Trellis) -> None:
    bound = task(trellis)

    assert facts_of(trellis, "pack") == StepFacts(
        name="Parcel.pack", timeout_ms=10_000, retries_permitted=2, tasks=(bound,)
    )
    assert facts_of(trellis, "weigh").only_alerts
    assert facts_of(trellis, "hand_over").is_external
    assert facts_of(trellis, "bill").named_task == "accounts.bill"
    assert facts_of(trellis, "forgotten").tasks == ()


def test_a_task_that_the_declaration_names_is_found_if_the_app_has_it(trellis: Trellis) -> None:
    app: Any = trellis.app
    app.task(name="accounts.bill", shared=False)(work())

    (found,) = facts_of(trellis, "bill").tasks

    assert found.name == "accounts.bill"


def test_options_of_the_task_come_before_the_configuration(trellis: Trellis) -> None:
    trellis.app.conf.update(task_acks_late=True, task_time_limit=20, task_reject_on_worker_lost=True)

    own = task(trellis, acks_late=False, time_limit=12.5)

    assert (own.acks_late, own.time_limit_ms, own.reject_on_worker_lost) == (False, 12_500, True)


def test_a_task_without_a_time_limit_has_that_of_the_configuration(trellis: Trellis) -> None:
    trellis.app.conf.task_time_limit = 20

    assert task(trellis).time_limit_ms == 20_000


def test_one_setting_may_stand_for_failures_and_time_limits(trellis: Trellis) -> None:
    trellis.app.conf.task_acks_on_failure_or_timeout = False

    found = task(trellis)

    assert (found.acks_on_failure, found.acks_on_timeout) == (False, False)


@pytest.mark.parametrize(
    ("options", "wait_ms"),
    [
        ({}, 0),
        ({"default_retry_delay": 900}, 0),
        ({"autoretry_for": (OSError,)}, 180_000),
        ({"autoretry_for": (OSError,), "default_retry_delay": 900}, 900_000),
        ({"autoretry_for": (OSError,), "retry_kwargs": {"countdown": 5}}, 5_000),
        ({"autoretry_for": (OSError,), "retry_backoff": True}, 600_000),
        ({"autoretry_for": (OSError,), "retry_backoff": 2, "retry_backoff_max": 7_200}, 7_200_000),
    ],
)
def test_the_longest_wait_of_celerys_own_retries_is_seen(
    trellis: Trellis, options: dict[str, Any], wait_ms: int
) -> None:
    assert task(trellis, **options).retry_wait_ms == wait_ms


def test_a_task_goes_where_the_router_sends_it(trellis: Trellis) -> None:
    app: Any = trellis.app
    process_step(Parcel.weigh)(app.task(name="parcels.weigh", shared=False)(work()))

    assert task(trellis).queue == "parcels"
    assert facts_of(trellis, "weigh").tasks[0].queue == "scales"


def test_a_router_that_wants_arguments_leaves_the_queue_unknown(trellis: Trellis) -> None:
    def route(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **_: Any) -> Any:
        return {"queue": args[0]}

    trellis.app.conf.task_routes = (route,)

    assert task(trellis).queue == ""


def test_two_classes_of_one_name_are_told(trellis: Trellis) -> None:
    again = type("Parcel", (ProcessType,), {"pack": Step()})

    assert declared.ask(trellis, [Parcel, again]).doubled_types == ("Parcel",)


def test_tasks_of_trellis_itself_are_none_of_the_others(trellis: Trellis) -> None:
    app: Any = trellis.app
    app.task(name="parcels.count", shared=False)(work())
    task(trellis)

    others = declared.other_tasks(trellis, declared.ask(trellis, [Parcel]))

    assert [one.name for one in others] == ["parcels.count"]


def test_a_module_that_cannot_be_imported_is_told_and_no_error() -> None:
    app = Celery("broken", include=["no.such.module"], set_as_current=False)

    assert declared.import_modules(app) == "ModuleNotFoundError: No module named 'no'"
