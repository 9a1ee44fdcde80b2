"""What the model is asked about: who takes part, what goes wrong and how often, and what has to come of it.

A fault is possible at any point where somebody can be hit by it; its number says how often in one story. Many small
configurations see more than a large one that ends for want of memory.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Unless the configuration says otherwise. The model's own defaults are: two workers, and no fault.
USUAL = {"RETRIES_PERMITTED": 1, "CHECKERS": 1}
#: A broker that loses and repeats so many messages, and no operator.
LIVE = {"IS_LIVE": 1, "IS_BAD": 0}
#: The constants that say how often something happens. The others say who there is, and how the step was declared.
BUDGETS = {
    *("CRASHES", "UNANSWERED", "STALLS", "LETS_GO", "THROWN_AWAY", "HEARTBEATS", "UNSENDABLE", "IGNORED", "REOPENED"),
    *("BY_HAND", "LOSSES", "REPEATS"),
}


@dataclass(frozen=True, slots=True)
class Configuration:
    """A name, and the constants of the model that differ from its defaults."""

    name: str
    what: str
    special: dict[str, int]
    #: Whether the step has to come to an end, besides nothing bad happening on the way.
    is_live: bool = False

    @property
    def constants(self) -> dict[str, int]:
        return USUAL | (LIVE if self.is_live else {}) | self.special


CONFIGURATIONS = [
    Configuration("two checkers", "two of anybody die, anywhere", {"CHECKERS": 2, "CRASHES": 2}),
    Configuration(
        "two checkers, unanswered",
        "a call to the store goes without an answer: done, not done, asked again, or told later",
        {"CHECKERS": 2, "UNANSWERED": 1},
    ),
    Configuration(
        "frozen worker",
        "a worker freezes while it sends its links, one more of anybody dies, a call goes without an answer",
        {"STALLS": 1, "CRASHES": 1, "UNANSWERED": 1, "HEARTBEATS": 1},
    ),
    Configuration(
        "frozen, two checkers",
        "a worker freezes, a run asks for more time",
        {"CHECKERS": 2, "STALLS": 1, "HEARTBEATS": 1},
    ),
    Configuration(
        "retries by Celery",
        "each message may be sent again by Celery, one of anybody dies, a call goes without an answer",
        {"CELERY_RETRIES": 1, "CRASHES": 1, "UNANSWERED": 1},
    ),
    Configuration(
        "retries by Celery, frozen",
        "likewise with a worker that freezes, and a run that raises Ignore",
        {"CELERY_RETRIES": 1, "STALLS": 1, "UNANSWERED": 1, "IGNORED": 1},
    ),
    Configuration(
        "two retries by Celery",
        "each message may be sent twice again by Celery, one of anybody dies, a call goes without an answer",
        {"RETRIES_PERMITTED": 0, "CELERY_RETRIES": 2, "CRASHES": 1, "UNANSWERED": 1},
    ),
    Configuration(
        "store away", "three calls in a row or apart go without an answer, and are told later", {"UNANSWERED": 3}
    ),
    Configuration(
        "let go",
        "a run gives its message back, or replaces itself",
        {"LETS_GO": 1, "CELERY_RETRIES": 1, "UNANSWERED": 1},
    ),
    Configuration(
        "thrown away",
        "a worker does not know the task, or the message has expired; the broker refuses one for good",
        {"THROWN_AWAY": 1, "UNSENDABLE": 1, "UNANSWERED": 1, "CRASHES": 1},
    ),
    Configuration(
        "thrown away, retries by Celery",
        "likewise, where Celery retries",
        {"THROWN_AWAY": 1, "UNSENDABLE": 1, "CELERY_RETRIES": 1},
    ),
    Configuration(
        "by hand",
        "an operator completes, fails or cancels the step, and retries it",
        {"BY_HAND": 1, "REOPENED": 1, "CRASHES": 1},
    ),
    Configuration(
        "retried by hand", "an operator retries the step", {"REOPENED": 1, "CHECKERS": 2, "UNANSWERED": 1, "WORKERS": 1}
    ),
    Configuration(
        "no time limit",
        "`timeout_ms` is None: only the lease tells of a dead worker",
        {"IS_TIMED": 0, "CRASHES": 1, "UNANSWERED": 1, "STALLS": 1},
    ),
    Configuration(
        "backoff", "a next attempt waits before it is sent", {"HAS_BACKOFF": 1, "CRASHES": 1, "UNANSWERED": 1}
    ),
    Configuration("three workers", "three runs at once", {"WORKERS": 3, "CRASHES": 1, "UNANSWERED": 1}),
    Configuration("two retries", "three attempts", {"RETRIES_PERMITTED": 2, "CRASHES": 1, "UNANSWERED": 1}),
    Configuration("no retry", "one attempt", {"RETRIES_PERMITTED": 0, "CHECKERS": 2, "CRASHES": 2, "UNANSWERED": 1}),
    Configuration(
        "it ends, lost and repeated",
        "the broker loses a message and repeats one",
        {"LOSSES": 1, "REPEATS": 1},
        is_live=True,
    ),
    Configuration(
        "it ends, dead", "the broker loses a message, one of anybody dies", {"LOSSES": 1, "CRASHES": 1}, is_live=True
    ),
    Configuration("it ends, unanswered", "a call goes without an answer", {"UNANSWERED": 1}, is_live=True),
    Configuration("it ends, two checkers", "the broker loses a message", {"CHECKERS": 2, "LOSSES": 1}, is_live=True),
    Configuration(
        "it ends, no time limit",
        "one of anybody dies, and only the lease tells",
        {"IS_TIMED": 0, "CRASHES": 1},
        is_live=True,
    ),
    Configuration("it ends, retries by Celery", "Celery sends the message again", {"CELERY_RETRIES": 1}, is_live=True),
    Configuration(
        "it ends, untold retries",
        "likewise; the store is not told of one, the run gives its message back, and the broker loses it",
        {"CELERY_RETRIES": 1, "UNANSWERED": 1, "LETS_GO": 1, "LOSSES": 1, "WORKERS": 1, "RETRIES_PERMITTED": 0},
        is_live=True,
    ),
    Configuration(
        "it ends, thrown away",
        "a worker does not know the task, or the broker refuses the message",
        {"THROWN_AWAY": 1, "UNSENDABLE": 1, "HAS_BACKOFF": 1},
        is_live=True,
    ),
    Configuration("it ends, let go", "a run gives its message back", {"LETS_GO": 1, "CRASHES": 1}, is_live=True),
]
