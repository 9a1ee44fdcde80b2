"""Tasks that run where they are called: with `task_always_eager`, by `apply`, or as plain functions."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, Task, chain
from celery.exceptions import Ignore, Retry

from trellis_celery import EventKind, ProcessHandle, ProcessType, Step, Trellis, current_step, process_step

pytestmark = pytest.mark.fault("A16")


class Flow(ProcessType):
    work = Step(timeout_ms=30_000, retries_permitted=1)
    more = Step(timeout_ms=30_000)


class Eager:
    """An app in this process, its tasks, and one process."""

    def __init__(self) -> None:
        self.app = Celery(f"eager-{uuid4().hex[:8]}", broker="memory://", set_as_current=False)
        self.app.conf.trellis_url = "memory://"
        self.trellis = Trellis(self.app)
        self.runs: list[Any] = []
        self.process: ProcessHandle = self.trellis.start_process(
            Flow, tenant_id="tests", aggregate_type="Flow", aggregate_id="1"
        )

        @process_step(Flow.work)
        @self.app.task(shared=False, name="work", bind=True, max_retries=2)
        def work(task: Task, what: str = "succeed") -> str:
            step = current_step()
            self.runs.append(None if step is None else (step.step_name, step.attempt))
            match what:
                case "fail":
                    raise ValueError("no")
                case "ignore":
                    raise Ignore
                case "retry" if len(self.runs) == 1:
                    raise task.retry(countdown=0)
                case "send more":
                    self.more.delay()
            return what

        @process_step(Flow.more)
        @self.app.task(shared=False, name="more")
        def more(*args: object) -> str:
            return "more"

        self.work, self.more = work, more

    def state_of(self, step: str) -> str:
        return str(self.process.refresh().steps[step].state)


@pytest.fixture
def eager() -> Eager:
    return Eager()


@pytest.fixture(params=["always eager", "always eager, propagating", "apply"])
def send(request: pytest.FixtureRequest, eager: Eager) -> Any:
    """Run a task of the app here, whichever way, within the process; the exception it raised or its result."""
    eager.app.conf.task_always_eager = request.param != "apply"
    eager.app.conf.task_eager_propagates = request.param == "always eager, propagating"

    def send(task: Any, *args: Any) -> Any:
        with eager.process:
            try:
                return task.apply(args) if request.param == "apply" else task.delay(*args)
            except Exception as error:
                return error

    return send


def test_a_step_completes(eager: Eager, send: Any) -> None:
    result = send(eager.work)

    assert result.get() == "succeed"
    assert eager.state_of("work") == "completed"
    assert eager.runs == [("work", 1)]


def test_a_step_fails_with_what_its_task_raised(eager: Eager, send: Any) -> None:
    send(eager.work, "fail")

    assert eager.state_of("work") == "failed"
    assert "ValueError: no" in (eager.process.steps["work"].last_error or "")


def test_a_celery_retry_stays_within_the_attempt(eager: Eager) -> None:
    with eager.process:
        eager.work.apply(("retry",))

    assert eager.runs == [("work", 1), ("work", 1)]
    assert eager.state_of("work") == "completed"


def test_a_retry_that_celery_raises_instead_of_running_it_fails_the_step(eager: Eager) -> None:
    eager.app.conf.update(task_always_eager=True, task_eager_propagates=True)

    with eager.process, pytest.raises(Retry):
        eager.work.delay("retry")

    assert eager.runs == [("work", 1)]
    assert eager.state_of("work") == "failed"


def test_another_call_of_the_task_runs_and_is_not_the_step(eager: Eager, send: Any) -> None:
    send(eager.work, "first")
    result = send(eager.work, "second")

    assert result.get() == "second"
    assert eager.runs == [("work", 1), None]
    assert EventKind.RUN_REFUSED not in [event.kind for event in eager.process.history()]


def test_what_another_call_sends_belongs_to_the_process(eager: Eager) -> None:
    eager.app.conf.task_always_eager = True
    with eager.process:
        eager.work.delay("first")
        eager.work.delay("send more")

    assert eager.state_of("more") == "completed"


def test_another_call_that_fails_does_not_fail_the_step(eager: Eager) -> None:
    with eager.process:
        eager.work.apply(("succeed",))
        eager.work.apply(("fail",))

    assert eager.runs == [("work", 1), None]
    assert eager.state_of("work") == "completed"


def test_the_same_call_again_does_not_run(eager: Eager, send: Any) -> None:
    send(eager.work, "first")
    send(eager.work, "first")

    assert eager.runs == [("work", 1)]


def test_arguments_that_no_message_could_carry_are_no_reason_not_to_track(eager: Eager) -> None:
    with eager.process:
        eager.more.apply((object(),))

    assert eager.state_of("more") == "completed"


def test_a_task_that_ignores_itself_cancels_its_step(eager: Eager, send: Any) -> None:
    send(eager.work, "ignore")

    assert eager.state_of("work") == "cancelled"


def test_a_task_sent_by_a_task_does_its_own_step(eager: Eager, send: Any) -> None:
    eager.app.conf.task_always_eager = True
    send(eager.work, "send more")

    assert eager.state_of("work") == "completed"
    assert eager.state_of("more") == "completed"


def test_a_chain_completes_each_step(eager: Eager, send: Any) -> None:
    send(chain(eager.work.s(), eager.more.s()))

    assert (eager.state_of("work"), eager.state_of("more")) == ("completed", "completed")


def test_a_step_that_is_finished_does_not_run_again(eager: Eager, send: Any) -> None:
    send(eager.work)

    send(eager.work)

    assert eager.runs == [("work", 1)]
    kinds = [event.kind for event in eager.process.history()]
    assert kinds.count(EventKind.STEP_COMPLETED) == 1
    assert kinds.count(EventKind.RUN_REFUSED) == 1


def test_a_direct_call_is_a_plain_function_call(eager: Eager) -> None:
    with eager.process:
        returned = eager.work("succeed")

    assert returned == "succeed"
    assert eager.runs == [None]
    assert eager.state_of("work") == "pending"


def test_outside_of_a_process_nothing_is_tracked(eager: Eager) -> None:
    result = eager.work.apply()

    assert result.get() == "succeed"
    assert eager.runs == [None]
    assert eager.state_of("work") == "pending"
