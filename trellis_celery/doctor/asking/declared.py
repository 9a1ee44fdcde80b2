"""What the team has declared, and what its app makes of that. Nothing is sent anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from trellis_celery.doctor.steps import DeclaredFacts, StepFacts, TaskFacts
from trellis_celery.domain.definitions import ProcessType, Step
from trellis_celery.domain.step import OnTimeout
from trellis_celery.plugin.extension import Trellis

#: As Celery has it for tasks that say nothing else, seconds.
_RETRY_BACKOFF_MAX_S = 600


def process_types() -> list[type[ProcessType]]:
    """Every one that this program has imported."""
    return list(_below(ProcessType))


def _below(process_type: type[ProcessType]) -> Iterator[type[ProcessType]]:
    for each in process_type.__subclasses__():
        yield each
        yield from _below(each)


def import_modules(app: Any) -> str:
    """Import the modules that a worker would; return what went wrong, empty if nothing did."""
    try:
        app.loader.import_default_modules()
        app.finalize()
    except Exception as error:  # noqa: BLE001 - modules of the team may raise anything
        return f"{type(error).__name__}: {error}"
    return ""


def ask(trellis: Trellis, types: Iterable[type[ProcessType]]) -> DeclaredFacts:
    types = list(types)
    names = Counter(each.type_name for each in types)
    tasks = trellis.bindings.tasks()
    return DeclaredFacts(
        steps=tuple(
            _step_facts(trellis, step, [task for task in tasks if _does(trellis, task, step)])
            for each in types
            for step in each.declared_steps.values()
        ),
        doubled_types=tuple(name for name, number in names.items() if number > 1),
        worker_lost_ms=trellis.settings.worker_lost_ms,
        check_interval_ms=trellis.settings.check_interval_ms,
    )


def other_tasks(trellis: Trellis, facts: DeclaredFacts) -> list[TaskFacts]:
    """The app's tasks that do no step, those of trellis itself left out."""
    bound = {task.name for step in facts.steps for task in step.tasks}
    others = [task for task in trellis.bindings.tasks() if task.name not in bound]
    return [task_facts(trellis.app, task) for task in others if not task.name.startswith("trellis_celery.")]


def _does(trellis: Trellis, task: Any, step: Step) -> bool:
    return trellis.bindings.step_of(task.name, step.process_type.type_name) is step


def _step_facts(trellis: Trellis, step: Step, tasks: Iterable[Any]) -> StepFacts:
    return StepFacts(
        name=repr(step),
        timeout_ms=step.timeout_ms,
        retries_permitted=step.retries_permitted,
        is_external=step.external,
        only_alerts=step.on_timeout == OnTimeout.ALERT,
        named_task=step.task,
        tasks=tuple(task_facts(trellis.app, task) for task in tasks),
    )


def task_facts(app: Any, task: Any) -> TaskFacts:
    either = task.acks_on_failure_or_timeout
    limit_s = task.time_limit or app.conf.task_time_limit
    return TaskFacts(
        name=task.name,
        queue=_queue_of(app, task),
        acks_late=bool(task.acks_late),
        reject_on_worker_lost=bool(task.reject_on_worker_lost),
        acks_on_failure=bool(getattr(task, "acks_on_failure", either)),  # two of them since Celery 5.7
        acks_on_timeout=bool(getattr(task, "acks_on_timeout", either)),
        time_limit_ms=int(limit_s * 1000) if limit_s else None,
        retry_wait_ms=_retry_wait_ms(task),
    )


def _queue_of(app: Any, task: Any) -> str:
    """Where the task goes if its caller says nothing; empty if the team's router does not say so without arguments."""
    try:
        route = app.amqp.router.route(dict(task._get_exec_options()), task.name, task_type=task)
    except Exception:  # noqa: BLE001 - routers of the team may raise anything
        return ""
    queue = route.get("queue")
    return str(getattr(queue, "name", queue) or "")


def _retry_wait_ms(task: Any) -> int:
    """The longest that `autoretry_for` waits. What a body says to `self.retry` cannot be seen."""
    options = {**vars(type(task)), **vars(task)}
    if not options.get("autoretry_for"):
        return 0
    if options.get("retry_backoff"):
        return int(options.get("retry_backoff_max", _RETRY_BACKOFF_MAX_S) * 1000)
    countdown = (options.get("retry_kwargs") or {}).get("countdown")
    return int((task.default_retry_delay if countdown is None else countdown) * 1000)
