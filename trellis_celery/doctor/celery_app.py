"""What the configuration of Celery does to tracking."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from trellis_celery.doctor import words
from trellis_celery.doctor.finding import Checks, Finding, note, ok, problem, warning


class AppFacts(Struct, frozen=True, kw_only=True):
    #: kombu's name of the broker's kind: "redis", "amqp", …
    broker: str = "redis"
    is_eager: bool = False
    protocol: int = 2
    has_remote_control: bool = True
    #: Tasks that do no step, with acks_late and reject_on_worker_lost.
    looping_tasks: tuple[str, ...] = ()
    #: Modules of tasks that could not be imported, and why.
    import_error: str = ""


def imports(facts: AppFacts) -> Iterator[Finding]:
    if facts.import_error:
        yield problem(
            f"the app's modules cannot be imported: {facts.import_error}",
            why="Workers with this code do not start, and what is said of steps here may be incomplete.",
            advice="Run `celery -A … report` or import the module in Python to see the whole error.",
        )
    else:
        yield ok("all modules of the app can be imported")


def eager(facts: AppFacts) -> Iterator[Finding]:
    if facts.is_eager:
        yield problem(
            "task_always_eager is on",
            why="Tasks run where they are sent: there is no message that could be sent again, and no lease.",
            advice="Leave task_always_eager to the tests.",
        )
    else:
        yield ok("tasks go through the broker")


def protocol(facts: AppFacts) -> Iterator[Finding]:
    if facts.protocol == 1:
        yield problem(
            "task_protocol is 1",
            why="Messages of Celery 3 have no headers, so nothing is tracked.",
            advice="Leave task_protocol out.",
        )
    else:
        yield ok("messages have headers")


def remote_control(facts: AppFacts) -> Iterator[Finding]:
    if facts.has_remote_control:
        yield ok("workers can be asked")
    elif facts.broker == "redis":
        yield warning(
            "worker_enable_remote_control is off",
            why="A worker without remote control, started --without-gossip --without-mingle --without-heartbeat, never "
            "consumes again after it lost its connection to Redis while it was to acknowledge a task (celery#8030).",
            advice="Leave worker_enable_remote_control on.",
        )
    else:
        yield note(
            "worker_enable_remote_control is off",
            why="Nothing can be asked of the workers here, and tasks cannot be revoked.",
            advice="Leave worker_enable_remote_control on, unless it is off on purpose.",
        )


def reject_loop(facts: AppFacts) -> Iterator[Finding]:
    if facts.looping_tasks:
        yield warning(
            f"acks_late with reject_on_worker_lost, and no step: {words.several(facts.looping_tasks)}",
            why="A task that kills its worker, by running out of memory for instance, comes back at once and without "
            "end: 12 times in 16 seconds in a trial. Of steps, trellis counts the attempts.",
            advice="Bind such a task to a step with retries_permitted; or leave task_reject_on_worker_lost out.",
        )
    else:
        yield ok("no task kills workers without end")


CHECKS: Checks[AppFacts] = {
    "celery-imports": imports,
    "celery-eager": eager,
    "celery-protocol": protocol,
    "celery-remote-control": remote_control,
    "celery-reject-loop": reject_loop,
}
