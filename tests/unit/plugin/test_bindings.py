from __future__ import annotations

import pytest
from celery import Celery

from trellis_celery import ProcessType, Step, errors, process_step


class Order(ProcessType):
    pay = Step()
    ship = Step()


class Refund(ProcessType):
    pay = Step()


def test_a_task_may_do_a_step_of_each_of_several_process_types() -> None:
    app = Celery("bindings", set_as_current=False)

    @process_step(Order.pay)
    @process_step(Refund.pay)
    @app.task(shared=False)
    def pay() -> None: ...

    app.finalize()


def test_a_task_cannot_do_two_steps_of_one_process_type() -> None:
    app = Celery("bindings", set_as_current=False)

    @process_step(Order.ship)
    @process_step(Order.pay)
    @app.task(shared=False)
    def pay() -> None: ...

    problem = r"the task does Order\.pay, and cannot do Order\.ship as well: make each a task of its own"
    with pytest.raises(errors.DefinitionError, match=problem):
        app.finalize()


def test_a_function_that_becomes_two_tasks_may_do_a_step_with_each() -> None:
    app = Celery("bindings", set_as_current=False)

    def work() -> None: ...

    process_step(Order.pay)(app.task(shared=False, name="pay")(work))
    process_step(Order.ship)(app.task(shared=False, name="ship")(work))
    app.finalize()
