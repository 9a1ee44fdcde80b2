"""What a team has declared, and the tasks that do it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from trellis_celery.doctor import words
from trellis_celery.doctor.finding import Checks, Finding, note, ok, problem, warning


class TaskFacts(Struct, frozen=True, kw_only=True):
    """A task of the app, with what its own options and the configuration say together."""

    name: str
    #: Where it is sent when nobody says otherwise; empty: it could not be found out.
    queue: str = ""
    acks_late: bool = False
    reject_on_worker_lost: bool = False
    acks_on_failure: bool = True
    acks_on_timeout: bool = True
    #: The hard one; None: the body may run for ever.
    time_limit_ms: int | None = None
    #: The longest that Celery waits between two of its own retries, as far as it can be seen.
    retry_wait_ms: int = 0


class StepFacts(Struct, frozen=True, kw_only=True):
    """A declared step, and the tasks of this app that do it."""

    name: str
    timeout_ms: int | None = None
    retries_permitted: int = 0
    is_external: bool = False
    #: Its timeout only tells, see `on_timeout`.
    only_alerts: bool = False
    #: The task that the declaration names, which may be another program's.
    named_task: str | None = None
    tasks: tuple[TaskFacts, ...] = ()


class DeclaredFacts(Struct, frozen=True, kw_only=True):
    steps: tuple[StepFacts, ...] = ()
    #: Names of process types that two classes have.
    doubled_types: tuple[str, ...] = ()
    worker_lost_ms: int = 5_000
    check_interval_ms: int = 1_000


def bound(facts: DeclaredFacts) -> Iterator[Finding]:
    if not facts.steps:
        yield warning(
            "no process type is declared in what this app imports",
            why="There is nothing to track.",
            advice="Import the module with your ProcessType classes, and name those of the tasks in `include`.",
        )
        return
    tasks = [step for step in facts.steps if not step.is_external]
    unbound = [step.name for step in tasks if not step.tasks and step.named_task is None]
    elsewhere = [f"{step.name} ({step.named_task})" for step in tasks if not step.tasks and step.named_task]
    if unbound:
        yield problem(
            f"no task does {words.several(unbound)}",
            why="Such a step is never started: its process stays unfinished until somebody completes it by hand.",
            advice="Put @process_step(…) on its task; add the task's module to `include`; or declare it external=True.",
        )
    if elsewhere:
        yield note(
            f"done by tasks that this app does not have: {words.several(elsewhere)}",
            why="Right if another program has them; with a typing error in the name the step is never started.",
            advice="Compare the name with `celery -A … inspect registered` of the program that runs it.",
        )
    if not unbound and not elsewhere:
        yield ok(f"{words.count(len(tasks), 'step')} bound, {len(facts.steps) - len(tasks)} external")


def once(facts: DeclaredFacts) -> Iterator[Finding]:
    twice = [step for step in facts.steps if len(step.tasks) > 1]
    if facts.doubled_types:
        yield warning(
            f"declared twice: {words.several(facts.doubled_types)}",
            why="A module that is imported under two names has two classes of one process type, and tasks are bound to "
            "one of them only.",
            advice="Import it under one name everywhere (proj.processes, and not processes), or rename one type.",
        )
    for step in twice:
        yield note(
            f"{step.name} is done by {words.several([task.name for task in step.tasks])}",
            why="The first of them that is sent within a process is the step; the others then run untracked.",
            advice="Give each task a step of its own, unless only one of them is sent in any process.",
        )
    if facts.steps and not twice and not facts.doubled_types:
        yield ok("every step has one task at the most")


def timeouts(facts: DeclaredFacts) -> Iterator[Finding]:
    without = [step.name for step in facts.steps if step.timeout_ms is None and not step.is_external]
    endless = [step.name for step in facts.steps if step.timeout_ms is None and step.is_external]
    limits = [(step.name, step.timeout_ms) for step in facts.steps if step.timeout_ms is not None]
    unseen = [name for name, timeout_ms in limits if timeout_ms < facts.check_interval_ms]
    short = [name for name, timeout_ms in limits if facts.check_interval_ms <= timeout_ms < facts.worker_lost_ms]
    if without:
        yield warning(
            f"without timeout_ms: {words.several(without)}",
            why="A body that hangs is never noticed: only the death of its worker ends it.",
            advice="Step(timeout_ms=…), several times what the slowest run takes.",
        )
    if endless:
        yield note(
            f"external, without timeout_ms: {words.several(endless)}",
            why="Nobody is told when the answer never comes.",
            advice="Step(timeout_ms=…, external=True), or a deadline_ms for the whole process.",
        )
    if unseen:
        yield warning(
            f"timeout_ms below {words.duration(facts.check_interval_ms)}: {words.several(unseen)}",
            why="Shorter than trellis_check_interval_ms: what is late is found only after several timeouts.",
            advice="Raise timeout_ms, or lower trellis_check_interval_ms.",
        )
    if short:
        yield note(
            f"timeout_ms below {words.duration(facts.worker_lost_ms)}: {words.several(short)}",
            why="Shorter than trellis_worker_lost_ms: the timeout runs out before a lost worker is missed, so its "
            "lease is of no use to these steps.",
            advice="Right if the body is that quick; else raise timeout_ms.",
        )
    if facts.steps and not without and not endless and not unseen and not short:
        yield ok("every step has a timeout")


def time_limits(facts: DeclaredFacts) -> Iterator[Finding]:
    """Of tasks whose step has a timeout; a step without one is told of by `timeouts`."""
    timed = [(step, task) for step in facts.steps if step.timeout_ms is not None for task in step.tasks]

    def names(condition: Callable[[int, int | None], bool]) -> list[str]:
        return [step.name for step, task in timed if condition(step.timeout_ms or 0, task.time_limit_ms)]

    endless = names(lambda timeout, limit: limit is None)
    early = names(lambda timeout, limit: limit is not None and limit < timeout)
    late = names(lambda timeout, limit: limit is not None and limit > _much_more_than(timeout))
    if endless:
        yield warning(
            f"no hard time_limit: {words.several(endless)}",
            why="A hung body is never killed: it keeps its slot of the pool while the next attempt runs beside it, "
            "until every slot hangs.",
            advice="@app.task(time_limit=…) in seconds, a little above the step's timeout_ms.",
        )
    if late:
        yield note(
            f"time_limit far above timeout_ms: {words.several(late)}",
            why="Until it is killed, a late body runs beside the next attempt and keeps its slot.",
            advice="A time_limit a little above the step's timeout_ms.",
        )
    if early:
        yield note(
            f"time_limit below timeout_ms: {words.several(early)}",
            why="Celery kills the body before it is late, which counts as a lost run: the timeout is never reached.",
            advice="A time_limit a little above the step's timeout_ms.",
        )
    if timed and not endless and not late and not early:
        yield ok("hung bodies are killed soon after they are late")


def _much_more_than(timeout_ms: int) -> int:
    return 2 * timeout_ms + 60_000


def acks_late(facts: DeclaredFacts) -> Iterator[Finding]:
    once_only = _of_tasks(
        facts.steps, lambda step, task: task.acks_late and not step.retries_permitted and not step.only_alerts
    )
    kept = _of_tasks(
        facts.steps, lambda _, task: task.acks_late and not (task.acks_on_failure and task.acks_on_timeout)
    )
    if once_only:
        yield warning(
            f"acks_late with retries_permitted=0: {words.several(once_only)}",
            why="When the worker dies the broker brings the message again, and trellis refuses it: a step that permits "
            "no retries is given up.",
            advice="Step(retries_permitted=1) if it may run again; else leave acks_late out.",
        )
    if kept:
        yield note(
            f"not acknowledged after a failure or a time limit: {words.several(kept)}",
            why="The broker may bring the message of a finished run again. trellis refuses it; tasks outside of "
            "processes run again.",
            advice="Leave task_acks_on_failure_or_timeout at True, unless a dead-letter queue wants the messages.",
        )
    if any(step.tasks for step in facts.steps) and not once_only and not kept:
        yield ok("what Celery acknowledges and what trellis retries fit together")


def _of_tasks(steps: Sequence[StepFacts], condition: Callable[[StepFacts, TaskFacts], bool]) -> list[str]:
    return [step.name for step in steps if any(condition(step, task) for task in step.tasks)]


CHECKS: Checks[DeclaredFacts] = {
    "steps-bound": bound,
    "steps-once": once,
    "steps-timeout": timeouts,
    "steps-time-limit": time_limits,
    "steps-acks-late": acks_late,
}
