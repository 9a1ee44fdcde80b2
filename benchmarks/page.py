"""Make `docs/explanation/performance.md` of the last results: ``python -m benchmarks --page``.

All of its text comes from here and from the results, so it cannot say anything else than was measured.
"""

from __future__ import annotations

from typing import Any

from benchmarks.harness import ROOT
from benchmarks.pictures import OF_SECTION, PICTURES, describe
from benchmarks.questions import SECTIONS, TAKES_S, Question, results

PAGE = ROOT / "docs/explanation/performance.md"

_TOP = """# How fast it is

What tracking costs beside plain Celery, what size costs, and how soon a step that was lost runs again. `make bench`
asks all of it again, in about ten minutes, and makes this page; each question has a
[script](../../benchmarks/README.md) of its own that says how it is asked.
{small}
Two ways that are compared took turns in one run, in one worker or one process, and a ratio comes from neighbours: the
same work differs more from one run to the next than what is looked for here. A figure is the median, and behind it in
brackets is the middle half of the rounds, or of a few all.
"""

_PEERS = """What each of these promises, and does not, is said where [it is
written](../../benchmarks/peers/README.md), with versions and what was set. All have the same three steps, which do
nothing; the worker is killed in the middle one, and another starts two seconds later. BullMQ is not written in
Python, and it keeps what it has done in Redis as this library does. procrastinate has jobs and no processes: nobody
there knows of the three that they belong together. PostgreSQL did not wait for the disk.
"""

_LIMITS = """## Why some goals are not met

* **A task.** Whoever refuses a second run of an attempt has to ask before the body, and whoever knows that it ended
  has to tell after it: two round trips, and a third that stores the message before it goes out. Two round trips that
  do nothing at all, by redis-py, leave {asking} of plain tasks on Redis, {asking_rabbitmq} on RabbitMQ, and take
  {asking_cpu} times the CPU, and two `PING`s on a bare socket, with nobody to read what came back, {pinging_cpu} times;
  the rest is ours. It is more than the same code takes in a loop: between two tasks the core has run Celery and the
  server, and has forgotten ours. An answer that is not awaited would cost less and could refuse nothing.
* **Publishing.** `delay()` waits for one more round trip, which leaves {asking_delay} of a plain one if nothing is done
  in it. The message is stored with it: the very bytes that go out, and a digest of the arguments.
* **What is sent again** is written twice, each time if nobody else has written it meanwhile: once to claim the step,
  once to say that its message is out. A check that published before it claimed would be faster, and two of them would
  send everything twice.
* **Room.** A record and its clocks are what has to be there. What comes to it is the history that people see (the
  log), the entries that lists are made of, and Redis's own bookkeeping for three keys a process.
* **The import** of some eighty small modules takes {uncollected} ms. The rest is one full pass of Python's collector
  over the objects that Celery has made, which was due: it begins with the first few hundred of ours. A program that
  imports anything else would have it there.
"""

_END = """## What the figures do not say

* **One small machine** ({machine}), with all servers on it and nothing between them: no network, no
  other load. Ratios travel better than absolute figures, and neither travels far.
* Python {python}, Celery {celery}, kombu {kombu}, redis-py {redis}, {server}. The servers keep nothing on disk:
  Redis with an append-only file takes some microseconds more for a commit, with `appendfsync always` as long as the
  disk does.
* Where a ratio is of CPU or of one process, everything was kept on one core, so that no figure is the time that another
  core takes to wake up. Workers had both cores, except where the row says one; their main process is then what
  everything waits for, and what the children do beside it costs little.
* A no-op is the worst case, and nobody has such tasks. Each was the only step of its process, which came to its end
  with it.
* The live steps of the rows on size are entries in the store's shared indexes without the processes behind them
  ([crowd](../../benchmarks/crowd.py)), and the lost steps were queued in batches, with one message for all
  ([bench_losses](../../benchmarks/bench_losses.py)). `make bench` makes a million of
  them; ten million: `python -m benchmarks.bench_sizes --live-steps 10000000`, with 4 GB of memory.
* A stored message, here of a task with one argument, is {message} bytes long. Redis has it in memory while its step is
  live, and once more while it is in the queue, if the broker is a Redis.
* What stores other than Redis cost is on the page about [choosing a store](../howto/choosing-a-store.md).
* BullMQ's 44.7 s were measured once, on the same machine and another day: 100,000 active jobs, all stalled.
* Nothing here is a promise, and no test depends on it.
"""


def page() -> str:
    found = results()
    parts = [_TOP.format(small=_small(found))]
    for title, questions in SECTIONS.items():
        if any(question.script in found for question in questions):
            parts.append(f"## {title}\n\n{_table(questions, found)}\n")
            parts += [f"{_picture(name, found)}\n" for name in OF_SECTION[title] if PICTURES[name].script in found]
    if "peers" in found:
        parts.append(f"{_peers(found['peers'])}\n")
    return "\n".join([*parts, _limits(found), _end(found)])


def _table(questions: tuple[Question, ...], found: dict[str, Any]) -> str:
    lines = ["| | beside | goal | measured | |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(_row(question, found.get(question.script, {})) for question in questions)])


def _row(question: Question, found: Any) -> str:
    answer, goal = question.answer(found), question.goal
    asks = question.asks.format_map({"tasks": 0, "live_steps": 0, "steps": 0, **found.get("sizes", {})})
    unit = f" {question.unit.removesuffix(' more')}" if question.unit else ""
    cells = (
        asks,
        question.beside,
        f"{goal}{unit}" if goal else "–",
        answer.text if answer else "not measured",
        "" if goal is None or answer is None else "met" if goal.is_met(answer.figure) else "**not met**",
    )
    return f"| {' | '.join(cells)} |"


def _small(found: dict[str, Any]) -> str:
    small = [script for script in TAKES_S if found.get(script, {}).get("is_small")]
    if not small:
        return ""
    return f"\n**Of small runs, which say nothing yet: {', '.join(small)}.**\n"


def _picture(name: str, found: dict[str, Any]) -> str:
    return f"![{describe(name, found)}](performance/{name}.svg)"


def _peers(found: Any) -> str:
    lines = [_PEERS, "| | processes a second | the body runs again after `kill -9` |", "|---|---|---|"]
    rates = found["throughput"]["processes_per_s"]
    for name, again in found["recovery_s"].items():
        rate = f"{rates[name]['median']:,}" if name in rates else "–"
        after = again if isinstance(again, str) else f"{again['median']} s"
        lines.append(f"| {name} | {rate} | {after} |")
    return "\n".join(lines)


def _limits(found: dict[str, Any]) -> str:
    tasks, publishing, imports = (found.get(script, {}) for script in ("tasks", "publishing", "imports"))
    return _LIMITS.format(
        asking=_median(tasks, "no-op", "throughput_to_plain", "asking"),
        asking_rabbitmq=_median(tasks, "no-op, RabbitMQ", "throughput_to_plain", "asking"),
        asking_cpu=_median(tasks, "no-op, one core", "cpu_to_plain", "asking"),
        pinging_cpu=_median(tasks, "no-op, one core", "cpu_to_plain", "pinging"),
        asking_delay=_median(publishing, "redis", "rate_to_plain", "asking"),
        uncollected=_median(imports, "beyond an app, ms", "an app and trellis, uncollected"),
    )


def _median(found: Any, *at: str) -> str:
    for part in at:
        found = found.get(part, {})
    return str(found.get("median", "?"))


def _end(found: dict[str, Any]) -> str:
    some = next(iter(found[script] for script in TAKES_S if script in found))
    room = found.get("room", {}).get("redis", {})
    return _END.format(
        **{name: some[name] for name in ("machine", "python", "celery", "kombu", "redis")},
        server=room.get("server", "Redis"),
        message=room.get("length of a message", "?"),
    )
