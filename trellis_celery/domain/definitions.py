"""How a team declares a process type and its steps.

::

    class ReferralNotification(ProcessType, deadline_ms=3_600_000):
        send_email = Step(timeout_ms=30_000, retries_permitted=3)
        acknowledge = Step(timeout_ms=86_400_000, external=True)
"""

from __future__ import annotations

from typing import Any, ClassVar, final

from trellis_celery import errors
from trellis_celery.domain.identity import require_identifier
from trellis_celery.domain.process import MAX_STEPS
from trellis_celery.domain.step import OnTimeout, ProcessStep, require_duration_ms


@final
class Step:
    """One step of a `ProcessType`. All durations are whole milliseconds.

    timeout_ms
        Longest time one attempt may run. Left out: as long as it likes; only a lost worker ends it.
    retries_permitted
        How many times a late or lost attempt is followed by another: attempts = 1 + retries_permitted.
    queue_timeout_ms
        Longest wait for a worker before a further copy of the message is sent. Left out: `trellis_queue_timeout_ms`.
    on_timeout
        ``"retry"``, or ``"alert"`` for a step that must not run twice: it is only told.
    backoff_ms, backoff_max_ms
        Wait before the second attempt; doubles with each further one up to the maximum, and is shortened by up to half
        at random.
    external
        A person or another system completes it; no task can be bound to it.
    task
        The name of the task that does the step. Needed only where it is sent by name from a program that does not
        import it; everywhere else `process_step` says it.

    Raises DefinitionError when the process type is made.
    """

    def __init__(
        self,
        *,
        timeout_ms: int | None = None,
        retries_permitted: int = 0,
        queue_timeout_ms: int | None = None,
        on_timeout: str = OnTimeout.RETRY,
        backoff_ms: int = 0,
        backoff_max_ms: int = 3_600_000,
        external: bool = False,
        task: str | None = None,
    ) -> None:
        self.timeout_ms = timeout_ms
        self.retries_permitted = retries_permitted
        self.queue_timeout_ms = queue_timeout_ms
        self.on_timeout = on_timeout
        self.backoff_ms = backoff_ms
        self.backoff_max_ms = backoff_max_ms
        self.external = external
        self.task = task
        self.name = ""
        self._process_type: type[ProcessType] | None = None

    def __set_name__(self, owner: type[ProcessType], name: str) -> None:
        self.name = name
        self._process_type = owner

    def __repr__(self) -> str:
        return f"{self._process_type.__name__}.{self.name}" if self._process_type else "Step(unnamed)"

    @property
    def process_type(self) -> type[ProcessType]:
        """The process type the step was declared in; raises DefinitionError outside of one."""
        if self._process_type is None:
            raise errors.DefinitionError("this Step was not declared in the body of a ProcessType")
        return self._process_type

    def new_record(self, *, queue_timeout_ms: int) -> ProcessStep:
        """The step as it is when its process starts. `queue_timeout_ms`: the default for a step that sets none."""
        own_wait = self.queue_timeout_ms is not None
        return ProcessStep(
            self.name,
            timeout_ms=self.timeout_ms,
            retries_permitted=self.retries_permitted,
            queue_timeout_ms=self.queue_timeout_ms if own_wait else queue_timeout_ms,  # type: ignore[arg-type]
            on_timeout=self._on_timeout(),
            backoff_ms=self.backoff_ms,
            backoff_max_ms=self.backoff_max_ms,
            external=self.external,
        )

    def _on_timeout(self) -> OnTimeout:
        try:
            return OnTimeout(self.on_timeout)
        except ValueError:
            raise errors.DefinitionError(f"on_timeout must be 'retry' or 'alert', not {self.on_timeout!r}") from None


class ProcessType:
    """What a kind of process consists of. Subclass it and assign a `Step` for each thing that must happen.

    `deadline_ms`: how long a process of this type may take; then it is marked overdue. `name`: the stored name, for a
    class that is renamed; the class's own name if left out.

    Raises DefinitionError when the class is made and something is wrong with it.
    """

    #: The stored name of the type.
    type_name: ClassVar[str]
    #: By name, in the order of declaration.
    declared_steps: ClassVar[dict[str, Step]]
    deadline_ms: ClassVar[int | None] = None

    def __init_subclass__(cls, *, deadline_ms: int | None = None, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.type_name = require_identifier("process type", cls.__name__ if name is None else name)
        cls.declared_steps = _declared_steps(cls)
        cls.deadline_ms = (
            None if deadline_ms is None else require_duration_ms("deadline_ms", deadline_ms, none_means="no deadline")
        )
        for step in cls.declared_steps.values():
            _check(cls, step)
            if step.task is not None:
                _by_task[cls.type_name, step.task] = step

    def __init__(self) -> None:
        raise errors.DefinitionError(f"{type(self).__name__} is a declaration; start one with Trellis.start_process")

    @classmethod
    def new_steps(cls, *, queue_timeout_ms: int) -> list[ProcessStep]:
        """The steps as they are when a process starts. `queue_timeout_ms`: the default for steps that set none."""
        return [step.new_record(queue_timeout_ms=queue_timeout_ms) for step in cls.declared_steps.values()]


def require_process_type(value: object) -> type[ProcessType]:
    """Return `value` if it is a process type that declares steps; raises DefinitionError otherwise."""
    if not (isinstance(value, type) and issubclass(value, ProcessType) and value is not ProcessType):
        raise errors.DefinitionError(f"a process type such as ReferralNotification is needed, not {value!r:.80}")
    return value


#: Steps that name their tasks, by type and task.
_by_task: dict[tuple[str, str], Step] = {}


def step_of_task(type_name: str, task_name: str) -> Step | None:
    """The step of this process type whose declaration names this task."""
    return _by_task.get((type_name, task_name))


_RESERVED = frozenset(dir(ProcessType)) | {"type_name", "declared_steps"}


def _declared_steps(cls: type[ProcessType]) -> dict[str, Step]:
    for base in cls.__mro__[1:]:
        for name in (name for name, value in vars(base).items() if isinstance(value, Step)):
            inherited = f"{cls.__name__} would inherit {base.__name__}.{name}"
            raise errors.DefinitionError(f"{inherited}: a process type declares all of its steps itself")
    own = {name: value for name, value in vars(cls).items() if isinstance(value, Step)}
    if not own:
        raise errors.DefinitionError(f"process type {cls.__name__} declares no steps")
    if len(own) > MAX_STEPS:
        raise errors.DefinitionError(f"process type {cls.__name__} has {len(own)} steps; the most is {MAX_STEPS}")
    for name, step in own.items():
        if step.name != name:
            raise errors.DefinitionError(f"{cls.__name__}.{name} and {step!r} are one Step object; make two")
    taken = sorted(_RESERVED & own.keys())
    if taken:
        raise errors.DefinitionError(f"{cls.__name__}.{taken[0]} cannot be a step: ProcessType uses this name itself")
    return own


def _check(cls: type[ProcessType], step: Step) -> None:
    if step.external and step.task is not None:
        raise errors.DefinitionError(f"{cls.__name__}.{step.name} is external: no task does it")
    if step.external and step.retries_permitted and step.on_timeout == OnTimeout.RETRY:
        raise errors.DefinitionError(
            f"{cls.__name__}.{step.name} is external, so there is no task to send again: leave out retries_permitted"
        )
    try:
        step.new_record(queue_timeout_ms=1)
    except errors.DefinitionError as error:
        raise errors.DefinitionError(f"{cls.__name__}.{step.name}: {error}") from None
