"""`process_step` binds whatever Celery calls a task, wherever it stands, and leaves the app alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, Task, shared_task, signals

from trellis_celery import ProcessHandle, ProcessType, Step, Trellis, errors, process_step


class Order(ProcessType):
    pay = Step(timeout_ms=30_000, retries_permitted=1)
    deliver = Step(timeout_ms=30_000)
    confirm = Step(external=True)


class Refund(ProcessType):
    pay = Step(timeout_ms=30_000)


def new_app() -> Celery:
    app = Celery(f"app-{uuid4().hex[:8]}", broker="memory://", set_as_current=False)
    app.conf.trellis_url = "memory://"
    Trellis(app)
    return app


@pytest.fixture
def app() -> Celery:
    return new_app()


def start(app: Celery, process_type: type[ProcessType] = Order) -> ProcessHandle:
    trellis: Trellis = app.trellis
    return trellis.start_process(process_type, tenant_id="tests", aggregate_type="Order", aggregate_id=uuid4().hex)


class Ran(list[str]):
    """What bodies were called with."""

    def body(self, order: str) -> str:
        self.append(order)
        return order


Define = Callable[[Celery, Ran, str], object]


def above_app_task(app: Celery, ran: Ran, name: str) -> None:
    @process_step(Order.pay)
    @app.task(shared=False, name=name)
    def pay(order: str) -> str:
        return ran.body(order)


def below_app_task(app: Celery, ran: Ran, name: str) -> None:
    @app.task(shared=False, name=name)
    @process_step(Order.pay)
    def pay(order: str) -> str:
        return ran.body(order)


def above_shared_task(app: Celery, ran: Ran, name: str) -> None:
    @process_step(Order.pay)
    @shared_task(name=name)
    def pay(order: str) -> str:
        return ran.body(order)


def below_shared_task(app: Celery, ran: Ran, name: str) -> None:
    @shared_task(name=name)
    @process_step(Order.pay)
    def pay(order: str) -> str:
        return ran.body(order)


def bound(app: Celery, ran: Ran, name: str) -> None:
    @process_step(Order.pay)
    @app.task(shared=False, name=name, bind=True)
    def pay(self: Task, order: str) -> str:
        assert self.name == name
        return ran.body(order)


def with_autoretry(app: Celery, ran: Ran, name: str) -> None:
    @process_step(Order.pay)
    @app.task(shared=False, name=name, autoretry_for=(OSError,))
    def pay(order: str) -> str:
        return ran.body(order)


def with_autoretry_below(app: Celery, ran: Ran, name: str) -> None:
    @app.task(shared=False, name=name, autoretry_for=(OSError,))
    @process_step(Order.pay)
    def pay(order: str) -> str:
        return ran.body(order)


def with_a_base_class(app: Celery, ran: Ran, name: str) -> None:
    class Base(Task):
        abstract = True

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return super().__call__(*args, **kwargs)

    @process_step(Order.pay)
    @app.task(shared=False, name=name, base=Base)
    def pay(order: str) -> str:
        return ran.body(order)


def a_task_class(app: Celery, ran: Ran, name: str) -> None:
    @process_step(Order.pay)
    class Pay(Task):
        def run(self, order: str) -> str:
            return ran.body(order)

    Pay.name = name
    app.register_task(Pay())


def the_run_method_of_a_task_class(app: Celery, ran: Ran, name: str) -> None:
    class Pay(Task):
        @process_step(Order.pay)
        def run(self, order: str) -> str:
            return ran.body(order)

    Pay.name = name
    app.register_task(Pay())


def a_task_instance(app: Celery, ran: Ran, name: str) -> None:
    class Pay(Task):
        def run(self, order: str) -> str:
            return ran.body(order)

    Pay.name = name
    process_step(Order.pay)(app.register_task(Pay()))


def after_finalization(app: Celery, ran: Ran, name: str) -> None:
    app.finalize()
    above_app_task(app, ran, name)


def after_finalization_below(app: Celery, ran: Ran, name: str) -> None:
    app.finalize()
    below_app_task(app, ran, name)


WAYS: list[Define] = [
    above_app_task,
    below_app_task,
    above_shared_task,
    below_shared_task,
    bound,
    with_autoretry,
    with_autoretry_below,
    with_a_base_class,
    a_task_class,
    the_run_method_of_a_task_class,
    a_task_instance,
    after_finalization,
    after_finalization_below,
]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def bound_task(request: pytest.FixtureRequest, app: Celery) -> tuple[Task, Ran]:
    """A task that is the step `pay`, in an app that is as in a worker."""
    ran, name = Ran(), f"pay-{uuid4().hex[:8]}"
    request.param(app, ran, name)
    app.finalize()
    signals.worker_init.send(sender=None)
    return app.tasks[name], ran


def test_the_task_does_the_step(app: Celery, bound_task: tuple[Task, Ran]) -> None:
    task, ran = bound_task
    process = start(app)

    with process:
        task.apply(("order-1",))

    assert process.refresh().steps["pay"].state == "completed"
    assert ran == ["order-1"]


def test_the_body_does_not_run_when_the_step_is_finished(app: Celery, bound_task: tuple[Task, Ran]) -> None:
    task, ran = bound_task
    process = start(app)
    process.complete_step("pay")

    with process:
        result = task.apply(("order-1",))

    assert ran == []
    assert result.state == "IGNORED"


def test_the_task_is_called_and_named_as_before(app: Celery, bound_task: tuple[Task, Ran]) -> None:
    task, ran = bound_task

    returned = task("order-1")

    assert returned == "order-1"
    assert ran == ["order-1"]
    assert task.s("x").args == ("x",)


@pytest.mark.parametrize("define", [above_app_task, below_app_task, above_shared_task, below_shared_task])
def test_the_decorator_does_not_finalize_the_app(app: Celery, define: Define) -> None:
    define(app, Ran(), f"pay-{uuid4().hex[:8]}")

    assert app.finalized is False


def test_a_task_may_do_steps_of_several_process_types(app: Celery) -> None:
    @process_step(Order.pay)
    @process_step(Refund.pay)
    @app.task(shared=False, name="pay")
    def pay() -> None: ...

    for process_type in (Order, Refund):
        process = start(app, process_type)
        with process:
            pay.apply()

        assert process.refresh().steps["pay"].state == "completed"


def test_two_tasks_of_one_app_do_their_own_steps(app: Celery) -> None:
    @process_step(Order.pay)
    @app.task(shared=False, name="pay")
    def pay() -> None: ...

    @process_step(Order.deliver)
    @app.task(shared=False, name="deliver")
    def deliver() -> None: ...

    process = start(app)
    with process:
        deliver.apply()

    states = {name: str(step.state) for name, step in process.refresh().steps.items()}
    assert states == {"pay": "pending", "deliver": "completed", "confirm": "pending"}


def test_two_apps_in_one_program_keep_their_tasks_and_processes_apart() -> None:
    one, other = new_app(), new_app()
    ran = Ran()
    above_app_task(one, ran, "pay")
    mine, theirs = start(one), start(other)

    with mine:
        one.tasks["pay"].apply(("order-1",))

    assert mine.refresh().steps["pay"].state == "completed"
    assert theirs.refresh().steps["pay"].state == "pending"
    assert other.trellis.bindings.step_of("pay", "Order") is None


def test_a_shared_task_does_its_step_in_each_app() -> None:
    ran, name = Ran(), f"pay-{uuid4().hex[:8]}"
    apps = [new_app(), new_app()]
    below_shared_task(apps[0], ran, name)

    for app in apps:
        process = start(app)
        with process:
            app.tasks[name].apply(("order-1",))

        assert process.refresh().steps["pay"].state == "completed"


def test_an_app_has_one_trellis(app: Celery) -> None:
    with pytest.raises(errors.ConfigurationError, match="has a Trellis already"):
        Trellis(app)


def test_only_a_declared_step_that_a_task_can_do_is_bound() -> None:
    for not_a_step in (Order.confirm, Step(), "pay"):
        with pytest.raises(errors.DefinitionError):
            process_step(not_a_step)  # type: ignore[arg-type]


@pytest.mark.parametrize("is_shared", [False, True], ids=["app_task", "shared_task"])
def test_two_tasks_of_one_function_do_the_steps_that_each_was_bound_to(app: Celery, is_shared: bool) -> None:
    def work(order: str) -> str:
        return order

    prefix = uuid4().hex[:8]
    for step in (Order.pay, Order.deliver):
        name = f"{prefix}.{step.name}"
        process_step(step)(shared_task(name=name)(work) if is_shared else app.task(name=name, shared=False)(work))

    app.finalize()

    found = [app.trellis.bindings.step_of(f"{prefix}.{name}", "Order") for name in ("pay", "deliver")]
    assert found == [Order.pay, Order.deliver]
