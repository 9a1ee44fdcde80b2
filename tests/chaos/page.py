"""Make `docs/explanation/soak.md` of the last two soaks: ``python -m tests.chaos.page``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PAGE = Path("docs/explanation/soak.md")
RESULTS = Path("benchmarks/results")
BROKERS = ("redis", "rabbitmq")

_TEXT = """# Everything broken at random

```
make chaos MINUTES=10 SEED={seed} BROKER=rabbitmq
```

starts a store with an append-only file, a broker (a Redis that comes back empty, or a RabbitMQ),
two workers with two pool children each, and two beats. A client sends orders of four steps in a
chain, and alarms of one step that may be tried twice; some alarms kill whoever rings them. It
repeats a call until that is accepted; from then on the order counts. Every few seconds something is
killed, frozen, cut off, emptied or sent twice, and stays so for up to four seconds, or twelve for a
frozen worker or child, which is longer than its lease and its step's timeout; other faults begin
meanwhile. The seed decides what, when, whom and for how long.

Settings are the defaults, but for the wait for a worker (five seconds, so that a forgotten message
is missed within the soak), a broker that is waited for (`task_publish_retry_policy`, socket
timeouts), one message at a time for each child, `trellis_strict` for the client, so that it learns
what was not written, and `appendfsync always`, so that the store forgets nothing by itself.

The judge has the log of each process, and a ledger that trellis knows nothing of: task bodies write
into a file of SQLite when they begin and when they end. When nothing breaks any more and all is
finished, they are compared. `make chaos` ends with status 1 if anything was lost or counted twice. The
tests run twenty seconds of it on each broker.

## The last ten minutes

| | {brokers} |
|---|{rule}
{rows}

*Completed without a body* is a step whose end is in the log though no body came to its own;
*attempts too many* are more than were permitted, or an attempt that was accepted twice. *More than
one body came to its end*, *at the same time* and *an attempt with two bodies* are what nobody can
promise away: a worker that froze wakes up beside its replacement; it, or its store, is killed
between the end of a body and the store's note of it; while the store is away, nobody can be asked
whether a body may run. *Noticed* is from the kill to the start of the next run; a
worker that is killed while the store or the broker is away is noticed when both are back.

What was broken: {faults}
"""


def page() -> str:
    reports: list[dict[str, Any]] = [json.loads((RESULTS / f"chaos-{broker}.json").read_text()) for broker in BROKERS]
    rows = {
        "seed": [each["seed"] for each in reports],
        "faults, and those that hit nobody": [f"{sum(each['faults'].values())}, {each['missed']}" for each in reports],
        "processes, steps accepted": [f"{each['processes']}, {each['steps']}" for each in reports],
        "calls that the client had to repeat": [each["refused"] for each in reports],
        "steps completed, given up": [f"{each['completed']}, {each['given_up']}" for each in reports],
        "**steps lost**": [len(each["lost"]) for each in reports],
        "**steps completed twice**": [len(each["twice"]) for each in reports],
        "completed without a body": [len(each["unproven"]) for each in reports],
        "attempts too many": [len(each["too_many_attempts"]) for each in reports],
        "bodies that trellis knew nothing of": [len(each["untracked"]) for each in reports],
        "bodies that ran": [each["runs"] for each in reports],
        "steps of which more than one body came to its end": [each["repeated_bodies"] for each in reports],
        "pairs of bodies of one step at the same time": [each["overlaps"] for each in reports],
        "attempts with two bodies": [each["repeated_attempts"] for each in reports],
        "noticed after, median and p99, s": [f"{each['noticed_p50_s']}, {each['noticed_p99_s']}" for each in reports],
        "all finished after the last fault, s": [each["healed_s"] for each in reports],
    }
    faults = sorted({fault for each in reports for fault in each["faults"]})
    counted = [f"{fault} {' + '.join(str(each['faults'].get(fault, 0)) for each in reports)}" for fault in faults]
    return _TEXT.format(
        seed=reports[1]["seed"],
        brokers=" | ".join(each["broker"] for each in reports),
        rule="---|" * len(reports),
        rows="\n".join(f"| {name} | {' | '.join(map(str, values))} |" for name, values in rows.items()),
        faults=", ".join(counted) + ".",
    )


def main() -> None:
    PAGE.write_text(page())
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
