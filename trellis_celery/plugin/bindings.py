"""Which tasks do which steps: the `process_step` decorator, and the look-up by task name.

The decorator may stand where there is no task yet, only Celery's promise of one, and looking at a promise would make
the task and finalize its app at import. So it writes on what it can write on, and remembers the rest until an app is
asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from celery import Celery
from celery.exceptions import NotRegistered
from celery.local import PromiseProxy, Proxy

from trellis_celery import errors
from trellis_celery.domain.definitions import Step, step_of_task

T = TypeVar("T")

_MARK = "__trellis_steps__"

#: Promised tasks with a decorator above: they cannot be written on.
_promised: list[tuple[Any, Step]] = []


def process_step(step: Step) -> Callable[[T], T]:
    """Bind a task to a step: when the task is sent within a process of the step's type, it is that step.

    Stands above or below ``@app.task`` or ``@shared_task``, on a function, a task class or its `run` method, and
    returns what it was given. A task may be bound to steps of several process types. Raises DefinitionError.
    """
    if not isinstance(step, Step):
        raise errors.DefinitionError(f"process_step takes a step such as ReferralNotification.send_email, not {step!r}")
    if step.external:
        raise errors.DefinitionError(f"{step!r} is external: no task does it")
    step.process_type  # noqa: B018 - raises if the step is in no process type

    def bind(target: T) -> T:
        if issubclass(type(target), Proxy):
            _promised.append((target, step))
        else:
            _mark(target, step)
        return target

    return bind


def _mark(target: Any, step: Step) -> None:
    steps = vars(target).get(_MARK, ())
    if step not in steps:
        setattr(target, _MARK, (*steps, step))


class Bindings:
    """The steps of the tasks of one app."""

    def __init__(self, app: Celery) -> None:
        self._tasks: Any = app._tasks  # type: ignore[attr-defined]  # `app.tasks` would finalize the app
        self._found: dict[str, tuple[Step, ...]] = {}

    def step_of(self, task_name: str, process_type: str) -> Step | None:
        """The step that the task does in a process of this type."""
        for step in self._steps_of(task_name):
            if step.process_type.type_name == process_type:
                return step
        return step_of_task(process_type, task_name)

    def knows(self, task_name: str) -> bool:
        """Whether the app has this task at all."""
        return task_name in self._tasks

    def tasks(self) -> list[Any]:
        """The app's own tasks. Any may do a step: one that is bound, or one that a bound task replaced itself by."""
        return [task for name, task in list(self._tasks.items()) if not name.startswith("celery.")]

    def _steps_of(self, task_name: str) -> tuple[Step, ...]:
        found = self._found.get(task_name)
        if found is None:
            _resolve_promised(self._tasks)
            task = self._tasks.get(task_name)
            if task is None:
                return ()  # it may be defined later
            found = _steps_on(task)
            if found:
                self._found[task_name] = found
        return found


def _steps_on(task: Any) -> tuple[Step, ...]:
    """The steps on the task itself, on its own class and on its body; a subclass of a bound task is another task."""
    found = (*vars(task).get(_MARK, ()), *vars(type(task)).get(_MARK, ()), *getattr(task.run, _MARK, ()))
    return tuple(dict.fromkeys(found))


def _resolve_promised(tasks: Any) -> None:
    """Write on those of an app's tasks whose promises have been kept by now."""
    for promise, step in _promised:
        if _is_promise(promise) and not promise.__evaluated__():
            continue  # a task of an app that is not finalized yet
        try:
            task = tasks.get(promise.name)
        except NotRegistered:
            continue  # a shared task that the current app does not have
        if task is not None:
            _mark(task, step)


def _is_promise(target: Any) -> bool:
    """Whether it is a promise that is kept once; asking it for its class would keep it."""
    return issubclass(type(target), PromiseProxy)
