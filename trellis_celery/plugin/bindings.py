"""Which tasks do which steps: the `process_step` decorator, and the look-up by task name.

The decorator may stand where there is no task yet, only Celery's promise of one, and looking at a promise would make
the task and finalize its app at import. So it asks a promise of `app.task` to be told when it is kept. One of
`shared_task` is kept anew by each app and tells nobody: there it writes on the function that those tasks are made of.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from celery import Celery
from celery.local import PromiseProxy, Proxy

from trellis_celery import errors
from trellis_celery.domain.definitions import Step, step_of_task

T = TypeVar("T")

_MARK = "__trellis_steps__"


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
        # Its type, and not `isinstance`: that would ask a promise for its class, and so keep it.
        if issubclass(type(target), PromiseProxy):
            promise: Any = target
            promise.__then__(lambda: _mark(promise._get_current_object(), step))
        elif issubclass(type(target), Proxy):
            function, task_name = _behind_shared(target)
            _mark(function, step, task_name=task_name)
        else:
            _mark(target, step)
        return target

    return bind


def _mark(target: Any, step: Step, *, task_name: str | None = None) -> None:
    """Write on a task, a class or a function that it does the step; on a function, if made a task of this name.

    Raises DefinitionError if it does another step of the same process type: which one is a message for?
    """
    marks = vars(target).get(_MARK, ())
    for other, other_name in marks:
        if other_name == task_name and other is not step and other.process_type is step.process_type:
            raise errors.DefinitionError(
                f"the task does {other!r}, and cannot do {step!r} as well: make each a task of its own"
            )
    if (step, task_name) not in marks:
        setattr(target, _MARK, (*marks, (step, task_name)))


def _behind_shared(promise: Any) -> tuple[Any, str | None]:
    """The function of a shared task, and the name that it was given. Raises DefinitionError if they cannot be seen."""
    look_up = object.__getattribute__(promise, "_Proxy__local")
    seen = inspect.getclosurevars(look_up).nonlocals
    if "fun" not in seen:
        raise errors.DefinitionError("this release of Celery hides the function of a shared task: swap the decorators")
    return seen["fun"], seen.get("name")


class Bindings:
    """The steps of the tasks of one app."""

    def __init__(self, app: Celery) -> None:
        self._tasks: Any = app._tasks  # type: ignore[attr-defined]  # `app.tasks` would finalize the app

    def step_of(self, task_name: str, process_type: str) -> Step | None:
        """The step that the task does in a process of this type."""
        task = self._tasks.get(task_name)
        for step in () if task is None else _steps_on(task):
            if step.process_type.type_name == process_type:
                return step
        return step_of_task(process_type, task_name)

    def knows(self, task_name: str) -> bool:
        """Whether the app has this task at all."""
        return task_name in self._tasks

    def tasks(self) -> list[Any]:
        """The app's own tasks. Any may do a step: one that is bound, or one that a bound task replaced itself by."""
        return [task for name, task in list(self._tasks.items()) if not name.startswith("celery.")]


def _steps_on(task: Any) -> tuple[Step, ...]:
    """The steps on the task itself, on its own class and on its body; a subclass of a bound task is another task."""
    body = inspect.unwrap(task.run)
    places = (vars(task), vars(type(task)), getattr(getattr(body, "__func__", body), "__dict__", {}))
    marks = (mark for place in places for mark in place.get(_MARK, ()))
    return tuple(dict.fromkeys(step for step, task_name in marks if task_name in (None, task.name)))
