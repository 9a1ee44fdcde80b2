"""One step, in the states that the tests of the rules begin with."""

from trellis_celery.domain import outcomes, runs
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.step import ProcessStep
from trellis_celery.domain.transitions import Transition

PENDING = ProcessStep("step", timeout_ms=1_000, retries_permitted=2, queue_timeout_ms=5_000, version=1)
QUEUED = runs.queue(PENDING, task_id="task", args_digest="args", now_ms=10_000).after
RUNNING = runs.start(QUEUED, run_id="run", attempt=1, is_leased=True, worker="w1", now_ms=20_000).after
SECOND = runs.start(QUEUED, run_id="other", attempt=2, now_ms=30_000).after
COMPLETED = outcomes.complete(RUNNING, run_id="run", now_ms=21_000).after
FAILED = outcomes.fail(RUNNING, "broken", run_id="run", now_ms=21_000).after
CANCELLED = outcomes.cancel(RUNNING, now_ms=21_000).after
TERMINAL = (COMPLETED, FAILED, CANCELLED)


def kinds(transition: Transition) -> list[EventKind]:
    return [event.kind for event in transition.events]
