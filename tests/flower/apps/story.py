"""What happened in the shop: by the package's own rules, with a clock that is moved by hand."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from trellis_celery.domain import outcomes, runs
from trellis_celery.domain.process import Process
from trellis_celery.domain.step import OnTimeout, ProcessStep
from trellis_celery.domain.transitions import Rule
from trellis_celery.plugin.message import FORMAT, Message
from trellis_celery.ports import ProcessStore, StepKey
from trellis_celery.services.processes import ProcessService
from trellis_celery.services.recorder import Recorder
from trellis_celery.services.timeouts import TimeoutCheckerService
from trellis_celery.testing import ManualClock, RecordingRequeuer

#: What is in the arguments of a task, and on a page only if `trellis_show_args` is set.
SECRET = "card-4929"
#: A name that would be markup, and one that turns the direction of writing.
MARKUP, TURNED = "<script>alert('x')</script>", "order-\u202e9999"
MINUTE_MS, HOUR_MS = 60_000, 3_600_000


class Shop:
    def __init__(self, store: ProcessStore, clock: ManualClock) -> None:
        self.clock = clock
        self._store = store
        self._recorder = Recorder(store)
        self._service = ProcessService(store)
        self._checker = TimeoutCheckerService(store, requeuer=RecordingRequeuer(), worker_lost_ms=5_000)

    def open(self, aggregate_id: str, *steps: ProcessStep, process_type: str = "Order", **fields: Any) -> Process:
        fields = {"tenant_id": "acme", "aggregate_type": process_type, **fields}
        return self._service.start_process(process_type=process_type, aggregate_id=aggregate_id, steps=steps, **fields)

    def wait(self, ms: int) -> None:
        self.clock.advance(ms)

    def check(self, after_ms: int = 0) -> None:
        self.wait(after_ms)
        self._checker.check_for_timed_out_steps(by="beat@shop-1")

    def send(self, process: Process, name: str) -> None:
        task_id = f"{name}-{process.aggregate_id}"
        self._apply(process, name, partial(runs.queue, task_id=task_id, args_digest=""), message=_message(name))

    def start(self, process: Process, name: str, worker: str = "celery@worker-1", *, is_leased: bool = True) -> None:
        attempt = self._service.get_process(process.id).step(name).attempt
        rule = partial(
            runs.start, run_id=f"{name}-{attempt}", attempt=attempt, worker=worker, is_leased=is_leased,
        )  # fmt: skip
        self._apply(process, name, rule, lease_ms=5_000 if is_leased else 0)

    def finish(self, process: Process, name: str) -> None:
        self._apply(process, name, outcomes.complete)

    def fail(self, process: Process, name: str, error: str) -> None:
        self._apply(process, name, partial(outcomes.fail, error=error))

    def do(self, process: Process, name: str, ms: int) -> None:
        """Send, start a moment later, and complete after a while."""
        self.send(process, name)
        self.wait(200)
        self.start(process, name)
        self.wait(ms)
        self.finish(process, name)

    def cancel(self, process: Process) -> None:
        self._service.cancel(process.id, reason="the customer changed their mind", by="ann@example.com")

    def _apply(self, process: Process, name: str, rule: Rule, **options: Any) -> None:
        self._recorder.apply(StepKey(process.id, name), rule, **options)


def tell(store: ProcessStore, clock: ManualClock, *, is_hostile: bool = True) -> None:
    """All of it. The last check is a moment ago."""
    shop = Shop(store, clock)
    for number in range(60):
        _delivered(shop, f"order-{1001 + number}")
    _parked(shop)
    if is_hostile:
        _hostile(shop)
    _cancelled(shop)
    _overdue(shop)
    _gave_up(shop)
    _alerted(shop)
    _rescued(shop)
    shop.open("order-1090", *_steps())
    shop.check(after_ms=400)
    shop.wait(600)


def _steps() -> list[ProcessStep]:
    return [
        ProcessStep("reserve_stock", timeout_ms=10_000, retries_permitted=2),
        ProcessStep("charge_card", timeout_ms=8_000, retries_permitted=2),
        ProcessStep("pack", timeout_ms=60_000, retries_permitted=1),
        ProcessStep("confirm_delivery", timeout_ms=86_400_000, external=True),
    ]


def _delivered(shop: Shop, order: str) -> None:
    process = shop.open(order, *_steps())
    for name in ("reserve_stock", "charge_card", "pack"):
        shop.do(process, name, 700)
    shop.finish(process, "confirm_delivery")
    shop.wait(MINUTE_MS)


def _parked(shop: Shop) -> None:
    """Waits for a person, long after everything else."""
    process = shop.open("order-1070", *_steps(), tenant_id="globex")
    for name in ("reserve_stock", "charge_card", "pack"):
        shop.do(process, name, 900)
    shop.check(after_ms=2 * HOUR_MS)


def _hostile(shop: Shop) -> None:
    process = shop.open(
        TURNED,
        ProcessStep(MARKUP, timeout_ms=9_000),
        tenant_id=MARKUP,
        process_type=MARKUP,
        metadata={MARKUP: MARKUP, "note": "\u202eetoN"},
    )
    shop.send(process, MARKUP)
    shop.start(process, MARKUP, worker=MARKUP)
    shop.fail(process, MARKUP, f"{MARKUP}\u202e reversed")


def _cancelled(shop: Shop) -> None:
    process = shop.open("order-1071", *_steps())
    shop.do(process, "reserve_stock", 400)
    shop.cancel(process)
    shop.wait(MINUTE_MS)


def _overdue(shop: Shop) -> None:
    process = shop.open("order-1072", *_steps(), deadline_ms=10 * MINUTE_MS)
    shop.do(process, "reserve_stock", 600)
    shop.send(process, "charge_card")
    shop.check(after_ms=11 * MINUTE_MS)


def _gave_up(shop: Shop) -> None:
    process = shop.open("order-1073", *_steps(), metadata={"placed_by": "web", "items": 3})
    shop.do(process, "reserve_stock", 900)
    shop.send(process, "charge_card")
    for worker in ("celery@worker-1", "celery@worker-2", "celery@worker-1"):
        shop.wait(600)
        shop.start(process, "charge_card", worker, is_leased=False)
        shop.check(after_ms=8_100)
    shop.wait(4 * MINUTE_MS)


def _alerted(shop: Shop) -> None:
    process = shop.open(
        "ref-77",
        ProcessStep("send_letter", timeout_ms=30_000, on_timeout=OnTimeout.ALERT),
        ProcessStep("notify", timeout_ms=10_000),
        process_type="Referral",
        tenant_id="clinic-7",
    )
    shop.do(process, "notify", 500)
    shop.send(process, "send_letter")
    shop.start(process, "send_letter", "celery@printer", is_leased=False)
    shop.check(after_ms=30_500)
    shop.wait(MINUTE_MS)


def _rescued(shop: Shop) -> None:
    """A worker is killed while it charges the card; the step is sent again, and the order goes on."""
    process = shop.open("order-1074", *_steps(), metadata={"placed_by": "phone"})
    shop.do(process, "reserve_stock", 1_200)
    shop.send(process, "charge_card")
    shop.wait(300)
    shop.start(process, "charge_card", "celery@worker-2")
    for _ in range(7):  # its lease is not renewed any more
        shop.check(after_ms=1_000)
    shop.wait(500)
    shop.start(process, "charge_card", "celery@worker-1", is_leased=False)
    shop.wait(1_500)
    shop.finish(process, "charge_card")
    shop.send(process, "pack")
    shop.wait(700)
    shop.start(process, "pack", is_leased=False)
    shop.check(after_ms=5_000)


def _message(name: str) -> bytes:
    headers = json.dumps({"argsrepr": repr((SECRET, MARKUP)), "kwargsrepr": "{}", "task": name})
    return Message(FORMAT, "", "celery", "application/json", "utf-8", b"[[], {}, {}]", headers, "{}").dump()
