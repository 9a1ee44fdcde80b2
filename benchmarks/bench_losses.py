"""Every message is lost at once: how fast are they sent again, and how long until all are?

One process, which is the check, on one core with the servers. Passes of half a second take turns with `apply_async` of
an app without trellis, on RabbitMQ with publisher confirms on both sides; until all are sent again is the time of the
passes alone. How the steps were lost is a shortcut: one task is really sent, its message stands for all, and the
store's own commits, in batches, queue the steps as of a day ago. What the check logs, a line for each message, is
written and thrown away. What the workers then make of the messages is not measured.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from functools import partial

from benchmarks.harness import Broker, Cluster, Figures, Size, answer, cluster, say, server_version
from benchmarks.turns import one_core, ratios, spread, timed
from trellis_celery.ports import Change, StepKey
from trellis_celery.testing.contract import builders

DAY_MS = 24 * 3_600_000
#: Processes that are queued in one call.
BATCH = 100
PLAIN = 500


def measure(*, steps: int, on_rabbitmq: int) -> Figures:
    return {"redis": _run("redis", steps), "rabbitmq": _run("rabbitmq", on_rabbitmq)}


def _run(broker: Broker, steps: int) -> Figures:
    with one_core(), cluster("benchmarks.apps.parcels", broker=broker) as on:
        on.app.conf.trellis_check_budget_ms = 500
        on.module.bare.conf.broker_transport_options = {"confirm_publish": True}
        _lose(on, steps)
        say(f"{broker}: {steps:,} steps are lost")
        resent: list[int] = []
        check_s: list[float] = []
        plain_s: list[float] = []
        while sum(resent) < steps:
            began_s = time.perf_counter()
            resent.append(on.trellis.timeouts.check_for_timed_out_steps(by="bench").resent)
            check_s.append(time.perf_counter() - began_s)
            plain_s.append(timed(partial(_send, on)))
            assert resent[-1], "a pass sent nothing again"
        say(f"{broker}: all sent again")
        version = server_version(on.redis_url)
        on.module.bare.close()
    rates = [sent / taken_s for sent, taken_s in zip(resent, check_s, strict=True)]
    plain_rates = [PLAIN / taken_s for taken_s in plain_s]
    return {
        "store": version,
        "steps": steps,
        "all_after_s": round(sum(check_s), 2),
        "sent again, messages/s": spread(rates, digits=0),
        "apply_async, messages/s": spread(plain_rates, digits=0),
        "rate_to_plain": ratios(rates, plain_rates),
    }


def _send(on: Cluster) -> None:
    for number in range(PLAIN):
        on.module.fetch_untracked.apply_async((f"{number}",))


def _lose(on: Cluster, steps: int) -> None:
    store, message = on.trellis.store, _message(on)
    queued_ms = store.now_ms() - DAY_MS
    for changes in _changes(on, steps // len(on.module.STEPS), message, queued_ms):
        outcomes = store.commit(changes)
        assert not any(isinstance(outcome, Exception) for outcome in outcomes), outcomes[0]


def _message(on: Cluster) -> bytes:
    """A real one of a real task, whose step is then cancelled."""
    with on.trellis.start_process(
        on.module.Parcel, tenant_id="bench", aggregate_type="Parcel", aggregate_id="the one"
    ) as handle:
        on.module.fetch.delay("the one")
    (message,) = on.trellis.store.load_messages([StepKey(handle.id, "fetch")])
    handle.cancel()
    assert message is not None
    return bytes(message)


def _changes(on: Cluster, processes: int, message: bytes, queued_ms: int) -> Iterator[list[Change]]:
    for first in range(0, processes, BATCH):
        changes = []
        for number in range(first, min(first + BATCH, processes)):
            process = on.trellis.start_process(
                on.module.Parcel, tenant_id="bench", aggregate_type="Parcel", aggregate_id=f"{number}"
            ).process
            changes += [
                builders.change(process, builders.queue(at_ms=queued_ms), name, message=message)
                for name in process.steps
            ]
        yield changes


if __name__ == "__main__":
    logging.basicConfig(filename=os.devnull)
    answer("losses", measure, steps=Size(100_000, quick=2_000), on_rabbitmq=Size(20_000, quick=1_000))
