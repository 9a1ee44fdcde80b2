"""The model with one guard taken away, and the promise that no longer holds. A model that misses it proves nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.model.configurations import LIVE, USUAL
from tests.model.spin import Change

#: What the model calls them, and what they say.
PROMISES = {
    "COMPLETED_ONCE": "a step completes at most once",
    "RETRIES_BOUND": "at most `retries_permitted` re-enqueues",
    "STARTED_ONCE": "at most one accepted start of an attempt",
    "FINAL": "a terminal state is final",
    "WATCHED": "nothing is stuck: a step that was sent has a clock or a lease",
    "LINKS_ONCE": "links and chain go out once, unless the worker died or the store did not answer meanwhile",
    "LINKS_SENT": "a step that a run completed has sent its links and chain",
    "ENDS": "a step that was sent comes to an end",
}


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    #: One of `PROMISES`.
    breaks: str
    change: Change
    special: dict[str, int] = field(default_factory=dict)

    @property
    def is_live(self) -> bool:
        return self.breaks == "ENDS"

    @property
    def constants(self) -> dict[str, object]:
        return {**USUAL, **(LIVE if self.is_live else {"PROMISE": self.breaks}), **self.special}


_READ_MODIFY_WRITE = """\
  :: {
    Step seen;
    atomic {
      !is_terminal && clock_may_run_out ->
        seen.state = step.state; seen.attempt = step.attempt; seen.retry_count = step.retry_count;
        seen.celery_retries = step.celery_retries; seen.clock = step.clock; seen.run_id = step.run_id;
        seen.is_leased = step.is_leased; seen.is_finishing = step.is_finishing
    };
    atomic {
      step.state = seen.state; step.attempt = seen.attempt; step.retry_count = seen.retry_count;
      step.celery_retries = seen.celery_retries; step.clock = seen.clock; step.run_id = seen.run_id;
      step.is_leased = seen.is_leased; step.is_finishing = seen.is_finishing;
      claim(true, 0)
    }
  }
"""

MUTANTS = [
    Mutant(
        "no fence at the start",
        "STARTED_ONCE",
        Change("rules.pml", "is_same(number, retries) && is_held_by_another(me) -> verdict", "false -> verdict"),
    ),
    Mutant(
        "a replaced attempt starts",
        "STARTED_ONCE",
        Change("rules.pml", ":: !is_terminal && is_older(number, retries) -> verdict = STALE", ":: false -> skip"),
    ),
    Mutant(
        "no fence at completion",
        "LINKS_ONCE",
        Change("rules.pml", "(step.is_finishing || is_copy(number, retries, is_stray)) ->", "false ->"),
    ),
    Mutant(
        "no run asks before it sends its links",
        "LINKS_ONCE",
        Change("worker.pml", "number == 1 && is_known && !is_old[ME]", "is_known"),
    ),
    Mutant(
        "a first attempt never asks",
        "LINKS_ONCE",
        Change("worker.pml", "number == 1 && is_known && !is_old[ME]", "number == 1 && is_known"),
    ),
    Mutant(
        "claim, then publish",
        "ENDS",
        Change(
            "rules.pml",
            ":: else -> step.clock = HANDOFF; action = RETRY",
            ":: else -> step.clock = NO_CLOCK; action = RETRY",
        ),
        {"CRASHES": 2},
    ),
    Mutant(
        "publish, then tell the store",
        "ENDS",
        Change("rules.pml", ":: else -> step.run_id = NOBODY; step.clock = QUEUE", ":: else"),
        {"LOSSES": 1},
    ),
    Mutant(
        "giving up is not claimed",
        "WATCHED",
        Change("rules.pml", "step.clock = GIVING_UP; action = GIVE_UP", "step.clock = NO_CLOCK; action = GIVE_UP"),
    ),
    Mutant(
        "read, modify, write",
        "FINAL",
        Change(
            "checker.pml", "  :: atomic { !is_terminal && clock_may_run_out -> claim(true, 0) }\n", _READ_MODIFY_WRITE
        ),
    ),
    Mutant(
        "retries are not counted",
        "RETRIES_BOUND",
        Change("rules.pml", ":: step.retry_count >= RETRIES_PERMITTED ->", ":: false ->"),
    ),
    Mutant(
        "a completed step completes again",
        "COMPLETED_ONCE",
        Change(
            "rules.pml",
            ":: is_terminal -> verdict = (step.state == COMPLETED",
            ":: false -> verdict = (step.state == COMPLETED",
        ),
        {"BY_HAND": 1},
    ),
    Mutant(
        "a finished step fails",
        "FINAL",
        Change(
            "rules.pml",
            ":: is_terminal -> verdict = (step.state == FAILED",
            ":: false -> verdict = (step.state == FAILED",
        ),
    ),
    Mutant(
        "a completed step is given up",
        "FINAL",
        Change(
            "rules.pml",
            ":: is_terminal || step.attempt != number || step.clock != GIVING_UP\n",
            ":: step.attempt != number\n",
        ),
    ),
    Mutant(
        "the end of a copy ends the attempt",
        "LINKS_ONCE",
        Change("worker.pml", ":: atomic { lose(ME, number);", ":: atomic { lose(NOBODY, number);"),
        {"CRASHES": 1},
    ),
    Mutant(
        "a copy that is thrown away ends the attempt",
        "LINKS_ONCE",
        Change("rules.pml", "is_copy_of_running(number) (step", "is_copy_of_running(number) (false && step"),
        {"THROWN_AWAY": 1, "REOPENED": 1},
    ),
    Mutant(
        "a copy that the broker refuses ends the attempt",
        "LINKS_ONCE",
        Change("checker.pml", "unsendable--; throw_away(number, true)", "unsendable--; lose(NOBODY, number)"),
        {"UNSENDABLE": 1},
    ),
    Mutant(
        "the stored message keeps its count of retries",
        "ENDS",
        Change("checker.pml", "publish(number, retries, false)", "publish(number, stored_retries, false)"),
        {"CELERY_RETRIES": 1, "UNANSWERED": 1, "LETS_GO": 1, "LOSSES": 1, "WORKERS": 1, "RETRIES_PERMITTED": 0},
    ),
    Mutant(
        "the lease of an earlier run ends a later one",
        "LINKS_ONCE",
        Change("worker.pml", "lapses[0] = 0; lapses[CHECKERS - 1] = 0;", ""),
        {"LETS_GO": 1},
    ),
    Mutant(
        "a lease that ran out before a run asked to finish ends it",
        "LINKS_ONCE",
        Change("worker.pml", "lapses[0] = 0; lapses[CHECKERS - 1] = 0  /* a lease", "skip  /* a lease"),
    ),
    Mutant(
        "the retry of a copy replaces the run",
        "LINKS_ONCE",
        Change("rules.pml", "&& (is_stray || step.is_finishing) ->", "&& step.is_finishing ->"),
        {"CELERY_RETRIES": 1, "CRASHES": 1},
    ),
    Mutant(
        "the retry of a copy finishes beside the run",
        "LINKS_ONCE",
        Change(
            "rules.pml", "&& ((retries) <= step.celery_retries || is_stray))", "&& (retries) <= step.celery_retries)"
        ),
        {"CELERY_RETRIES": 1, "CRASHES": 1, "UNANSWERED": 1},
    ),
    Mutant(
        "the retry of a copy takes back a later one",
        "STARTED_ONCE",
        Change("rules.pml", " || is_overtaken(me, number, retries)) ->", ") ->"),
        {"RETRIES_PERMITTED": 0, "CELERY_RETRIES": 2, "UNANSWERED": 1},
    ),
    Mutant(
        "a copy of what was retried finishes",
        "STARTED_ONCE",
        Change("rules.pml", "is_retried(number, retries) ((number)", "is_retried(number, retries) (false && (number)"),
        {"RETRIES_PERMITTED": 0, "CELERY_RETRIES": 2, "UNANSWERED": 1, "CRASHES": 1},
    ),
    Mutant(
        "a message that is told of late ends its run",
        "LINKS_ONCE",
        Change("rules.pml", ":: is_late && step.run_id != NOBODY ", ":: false "),
        {"UNANSWERED": 2},
    ),
    Mutant(
        "workers promise no lease",
        "WATCHED",
        Change(
            "rules.pml", "step.is_leased = 1; step.is_finishing = 0; step.clock = run_clock", "step.clock = run_clock"
        ),
        {"IS_TIMED": 0},
    ),
    Mutant(
        "a step completes before its links are sent",
        "LINKS_SENT",
        Change(
            "worker.pml",
            "  :: atomic { ask_to_finish() }\n",
            "  :: atomic { ask_to_finish(); complete(ME); note_end() }\n",
        ),
        {"CRASHES": 1},
    ),
]
