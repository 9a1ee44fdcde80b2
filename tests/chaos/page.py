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
chain, and alarms of one step that may be tried twice. It repeats a call until that is accepted;
from then on the order counts. Every few seconds something is killed, frozen, cut off, emptied or
sent twice. The seed decides what, when, whom and for how long. Settings are the defaults, but for
the wait for a worker (five seconds), so that a forgotten message is missed within the soak.

The judge is a ledger that trellis knows nothing of: task bodies write into a file of SQLite when
they begin and when they end. When nothing breaks any more and all is finished, it is compared with
the log of each process. `make chaos` ends with status 1 if anything was lost or counted twice. The
tests run twenty seconds of it on each broker.

## The last ten minutes

| | {brokers} |
|---|{rule}
{rows}

*Completed without a body* is a step whose end is in the log though no body came to its own;
*attempts too many* are more than were permitted, or an attempt that started twice. *More than one
body came to its end* is what nobody can promise away: a worker is killed, or its store is, between
the end of a body and the word of it. *Noticed* is from the kill to the start of the next run; a
worker that is killed while the store or the broker is away is noticed when both are back.

What was broken: {faults}
"""


def page() -> str:
    reports: list[dict[str, Any]] = [json.loads((RESULTS / f"chaos-{broker}.json").read_text()) for broker in BROKERS]
    rows = {
        "seed": [each["seed"] for each in reports],
        "faults": [sum(each["faults"].values()) for each in reports],
        "processes, steps accepted": [f"{each['processes']}, {each['steps']}" for each in reports],
        "calls that the client had to repeat": [each["refused"] for each in reports],
        "steps completed, given up": [f"{each['completed']}, {each['given_up']}" for each in reports],
        "**steps lost**": [len(each["lost"]) for each in reports],
        "**steps completed twice**": [len(each["twice"]) for each in reports],
        "completed without a body": [len(each["unproven"]) for each in reports],
        "attempts too many": [len(each["too_many_attempts"]) for each in reports],
        "bodies that ran": [each["runs"] for each in reports],
        "steps of which more than one body came to its end": [each["repeated_bodies"] for each in reports],
        "bodies of one step at the same time": [each["overlaps"] for each in reports],
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
