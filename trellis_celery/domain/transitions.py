"""What a rule returns.

A rule takes the current record, what happened, and the store's time, and returns a `Transition`: the next record, the
log entries, and a verdict. It has no other effect, so it may be asked again with a newer record when somebody else
wrote first. The rules are in `runs` (a message is sent, a run starts and lets go), `outcomes` (how a step ends, and
begins again) and `timeouts` (a clock runs out); `by_hand` has those for steps that people or plain code move.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

from msgspec import Struct

from trellis_celery.domain.events import Event
from trellis_celery.domain.step import ProcessStep

#: How long a checker, or a run that sends its chain, has before it is taken for dead, ms.
HANDOFF_MS = 10_000
#: A message that a worker does not know is sent again after this time, ms; it doubles with each copy.
PUT_BACK_MS = 1_000
#: The most times the wait for a worker doubles.
MAX_DOUBLINGS = 10


class Verdict(Enum):
    ACCEPTED = auto()
    #: Another run holds this attempt, or the same call was sent before.
    DUPLICATE = auto()
    #: A newer attempt has replaced this one.
    STALE = auto()
    #: The step is finished already.
    FINISHED = auto()
    #: The message is not the step's: it runs as an ordinary task.
    UNTRACKED = auto()


class Transition(Struct, frozen=True):
    """The outcome of a rule. `after is before` and no events: there is nothing to write."""

    before: ProcessStep
    after: ProcessStep
    events: tuple[Event, ...] = ()
    verdict: Verdict = Verdict.ACCEPTED

    @property
    def is_change(self) -> bool:
        return self.after is not self.before or bool(self.events)


class Rule(Protocol):
    """A rule with all but the record and the time already given."""

    def __call__(self, step: ProcessStep, /, *, now_ms: int) -> Transition: ...


def is_held_by_another(step: ProcessStep, run_id: str | None) -> bool:
    """Whether a run other than this one holds the step. None is no run: it may speak for any but a finishing one."""
    if step.run_id is None or step.run_id == run_id:
        return False
    return run_id is not None or step.is_finishing
