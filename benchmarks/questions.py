"""What is asked of which script, and what answer is good enough.

A question is a row of `docs/explanation/performance.md`; its figure is found in the script's result.
"""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks.harness import RESULTS, ROOT

#: What `python -m benchmarks` runs, in this order, and about how long each takes, seconds.
TAKES_S = {
    "round_trips": 15,
    "imports": 15,
    "publishing": 25,
    "tasks": 155,
    "sizes": 45,
    "room": 25,
    "losses": 90,
    "lateness": 60,
    "recovery": 100,
    "leaks": 120,
}
#: Run by name: they take longer, or need programs that have to be installed first.
ALONE = ("stores", "flower", "peers")


def asks(script: str) -> str:
    """The question that a script's docstring begins with."""
    source = (ROOT / "benchmarks" / f"bench_{script}.py").read_text()
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n\n")[0].replace("\n", " ")


def results() -> dict[str, Any]:
    """What was measured last, by script."""
    paths = {script: RESULTS / f"{script}.json" for script in (*TAKES_S, *ALONE)}
    return {script: json.loads(path.read_text()) for script, path in paths.items() if path.exists()}


class Goal(NamedTuple):
    limit: float
    is_floor: bool

    def __str__(self) -> str:
        return f"{'≥' if self.is_floor else '≤'} {self.limit:g}"

    def is_met(self, figure: float) -> bool:
        return figure >= self.limit if self.is_floor else figure <= self.limit


def at_least(limit: float) -> Goal:
    return Goal(limit, is_floor=True)


def at_most(limit: float) -> Goal:
    return Goal(limit, is_floor=False)


class Answer(NamedTuple):
    #: The median, where there were several.
    figure: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Question:
    asks: str
    beside: str
    script: str
    #: Where the figure is in the result; a number is a place, of which -1 is the last.
    at: tuple[str | int, ...]
    goal: Goal | None = None
    unit: str = ""

    def answer(self, found: Any) -> Answer | None:
        """None if the result does not have it."""
        for part in self.at:
            try:
                found = list(found.values())[part] if isinstance(part, int) else found[part]
            except (KeyError, IndexError):
                return None
        unit = f" {self.unit}" if self.unit else ""
        if not isinstance(found, dict):
            return Answer(found, f"{found:,}{unit}")
        low, high = (found["q1"], found["q3"]) if "q1" in found else (min(found["all"]), max(found["all"]))
        return Answer(found["median"], f"{found['median']:,}{unit} ({low:,}–{high:,})")


_PLAIN = "plain tasks in the same worker"

SECTIONS: dict[str, tuple[Question, ...]] = {
    "What tracking costs": (
        Question(
            asks="no-op tasks a second, prefork with two children, Redis",
            beside=_PLAIN,
            script="tasks",
            at=("no-op", "throughput_to_plain", "tracked"),
            goal=at_least(0.90),
        ),
        Question(
            asks="the same with two empty round trips to the store instead of tracking",
            beside=_PLAIN,
            script="tasks",
            at=("no-op", "throughput_to_plain", "asking"),
        ),
        Question(
            asks="the same with two `PING`s on a bare socket",
            beside=_PLAIN,
            script="tasks",
            at=("no-op", "throughput_to_plain", "pinging"),
        ),
        Question(
            asks="the same with Celery's own events (`-E`) instead of tracking",
            beside=_PLAIN,
            script="tasks",
            at=("no-op", "throughput_to_plain", "announced"),
        ),
        Question(
            asks="no-op tasks a second, worker and servers on one core",
            beside=_PLAIN,
            script="tasks",
            at=("no-op, one core", "throughput_to_plain", "tracked"),
        ),
        Question(
            asks="the same with `-E` instead of tracking",
            beside=_PLAIN,
            script="tasks",
            at=("no-op, one core", "throughput_to_plain", "announced"),
        ),
        Question(
            asks="CPU of the worker for a no-op task",
            beside=_PLAIN,
            script="tasks",
            at=("no-op, one core", "cpu_to_plain", "tracked"),
            goal=at_most(1.08),
        ),
        Question(
            asks="the same with two empty round trips",
            beside=_PLAIN,
            script="tasks",
            at=("no-op, one core", "cpu_to_plain", "asking"),
        ),
        Question(
            asks="the same with two `PING`s on a bare socket",
            beside=_PLAIN,
            script="tasks",
            at=("no-op, one core", "cpu_to_plain", "pinging"),
        ),
        Question(
            asks="tasks of 10 ms a second, Redis",
            beside=_PLAIN,
            script="tasks",
            at=("10 ms", "throughput_to_plain", "tracked"),
            goal=at_least(0.985),
        ),
        Question(
            asks="the same with two empty round trips",
            beside=_PLAIN,
            script="tasks",
            at=("10 ms", "throughput_to_plain", "asking"),
        ),
        Question(
            asks="the same with two `PING`s on a bare socket",
            beside=_PLAIN,
            script="tasks",
            at=("10 ms", "throughput_to_plain", "pinging"),
        ),
        Question(
            asks="no-op tasks a second, prefork with two children, RabbitMQ",
            beside=_PLAIN,
            script="tasks",
            at=("no-op, RabbitMQ", "throughput_to_plain", "tracked"),
            goal=at_least(0.70),
        ),
        Question(
            asks="the same with two empty round trips",
            beside=_PLAIN,
            script="tasks",
            at=("no-op, RabbitMQ", "throughput_to_plain", "asking"),
        ),
        Question(
            asks="the same with two `PING`s on a bare socket",
            beside=_PLAIN,
            script="tasks",
            at=("no-op, RabbitMQ", "throughput_to_plain", "pinging"),
        ),
        Question(
            asks="the same with `-E` instead of tracking",
            beside=_PLAIN,
            script="tasks",
            at=("no-op, RabbitMQ", "throughput_to_plain", "announced"),
        ),
        Question(
            asks="`delay()` a second within a process, Redis",
            beside="`delay()` of an app without trellis",
            script="publishing",
            at=("redis", "rate_to_plain", "tracked"),
            goal=at_least(0.80),
        ),
        Question(
            asks="the same with an empty round trip to the store instead of tracking",
            beside="`delay()` of an app without trellis",
            script="publishing",
            at=("redis", "rate_to_plain", "asking"),
        ),
        Question(
            asks="`delay()` a second within a process, RabbitMQ",
            beside="`delay()` of an app without trellis",
            script="publishing",
            at=("rabbitmq", "rate_to_plain", "tracked"),
        ),
        Question(
            asks="round trips to the store to start a process of five steps",
            beside="–",
            script="round_trips",
            at=("a process of five steps is started", "reads"),
            goal=at_most(1),
        ),
        Question(
            asks="round trips to the store for a task, from publish to completion",
            beside="–",
            script="round_trips",
            at=("a task, from publish to completion", "reads"),
        ),
        Question(
            asks="`import trellis_celery`",
            beside="a program with a Celery app on Redis",
            script="imports",
            at=("beyond an app, ms", "an app and trellis"),
            goal=at_most(25),
            unit="ms more",
        ),
        Question(
            asks="the same without the collector of Python",
            beside="a program with a Celery app on Redis, without it too",
            script="imports",
            at=("beyond an app, ms", "an app and trellis, uncollected"),
            unit="ms more",
        ),
        Question(
            asks="memory that a worker gains over {tasks:,} tasks",
            beside="a worker with as many plain tasks",
            script="leaks",
            at=("tracked grew more by, MiB",),
            goal=at_most(1),
            unit="MiB more",
        ),
    ),
    "What size costs": (
        Question(
            asks="a check with nothing due and {live_steps:,} live steps",
            beside="10,000 live steps",
            script="sizes",
            at=("idle check", "to 10000", -1),
            goal=at_most(1.5),
        ),
        Question(
            asks="a commit with {live_steps:,} live steps",
            beside="1,000 live steps",
            script="sizes",
            at=("commit", "to 1000", -1),
            goal=at_most(1.3),
        ),
        Question(
            asks="a step in a process of {steps:,}",
            beside="a step in a process of five",
            script="sizes",
            at=("great process", "to small"),
            goal=at_most(1.2),
        ),
        Question(
            asks="memory of Redis for a live step, beyond its message",
            beside="–",
            script="room",
            at=("redis", "bytes a step, beyond its message"),
            goal=at_most(450),
            unit="bytes",
        ),
        Question(
            asks="the same in Valkey",
            beside="–",
            script="room",
            at=("valkey", "bytes a step, beyond its message"),
            unit="bytes",
        ),
    ),
    "When something is lost": (
        Question(
            asks="messages sent again a second, Redis",
            beside="`apply_async` in one process",
            script="losses",
            at=("redis", "rate_to_plain"),
            goal=at_least(8),
        ),
        Question(
            asks="the same, RabbitMQ, each confirmed",
            beside="`apply_async` with confirms",
            script="losses",
            at=("rabbitmq", "rate_to_plain"),
            goal=at_least(5),
        ),
        Question(
            asks="until {steps:,} steps that are lost at once are all sent again, Redis",
            beside="BullMQ's check for stalled jobs: 44.7 s",
            script="losses",
            at=("redis", "all_after_s"),
            goal=at_most(12),
            unit="s",
        ),
        Question(
            asks="from a deadline to the message sent again, 99 of 100",
            beside="the check's interval of a second",
            script="lateness",
            at=("beyond the interval, p99, ms",),
            goal=at_most(50),
            unit="ms more",
        ),
        Question(
            asks="from `kill -9` to the body running again on another worker",
            beside="–",
            script="recovery",
            at=("another worker",),
            unit="s",
        ),
        Question(
            asks="the same when the worker itself comes back",
            beside="–",
            script="recovery",
            at=("the worker comes back",),
            unit="s",
        ),
    ),
    "Beside others": (
        Question(
            asks="processes of three steps a second",
            beside="chains of plain Celery",
            script="peers",
            at=("throughput", "ours_to", "Celery"),
            goal=at_least(0.8),
        ),
        *(
            Question(
                asks="the same", beside=beside, script="peers", at=("throughput", "ours_to", peer), goal=at_least(3)
            )
            for peer, beside in (
                ("procrastinate", "jobs of procrastinate, the fastest other in Python here"),
                ("DBOS", "workflows of DBOS"),
                ("celery-director", "workflows of celery-director"),
            )
        ),
    ),
}
