"""What has happened in the shop of `docs/reference/shell.md` when its session begins."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

from trellis_celery.domain import outcomes, runs
from trellis_celery.domain.transitions import Rule
from trellis_celery.ports import StepKey
from trellis_celery.testing import ManualClock

START_MS = 1_800_000_000_000


class Scene:
    """The shop's app, with a clock that goes on only here."""

    def __init__(self, module: ModuleType, clock: ManualClock) -> None:
        self._module = module
        self._clock = clock
        self._trellis = module.trellis

    def order(self, aggregate_id: str) -> str:
        """An order is placed: its tasks are sent."""
        order = self._trellis.start_process(
            self._module.Order, tenant_id="berlin", aggregate_type="Cart", aggregate_id=aggregate_id
        )
        with order:
            self._module.charge_card.delay(aggregate_id)
            self._module.ship.delay(aggregate_id)
        return str(order.id)

    def wait(self, ms: int) -> None:
        self._clock.advance(ms)

    def run(self, order: str, step: str, *, worker: str = "celery@shop-1") -> None:
        self._apply(order, step, partial(runs.start, run_id=f"run-{self._clock.now_ms()}", worker=worker))

    def complete(self, order: str, step: str) -> None:
        self._apply(order, step, outcomes.complete)

    def lose(self, order: str, step: str, *, worker: str = "celery@shop-1") -> None:
        attempt = self._trellis.get_process(order).steps[step].attempt
        self._apply(order, step, partial(outcomes.lose, reason=f"worker lost: {worker}", attempt=attempt))

    def check(self) -> None:
        self._trellis.timeouts.check_for_timed_out_steps(by="beat, run by shop-1:412")

    def _apply(self, order: str, step: str, rule: Rule) -> None:
        self._trellis.recorder.apply(StepKey(order, step), rule)


def play(scene: Scene) -> dict[str, Any]:
    """Three orders: one is done, one lost a worker and then its parcel, one is new."""
    ids = {"cart-1016": scene.order("cart-1016")}
    scene.run(ids["cart-1016"], "charge_card")
    scene.wait(1_000)
    scene.run(ids["cart-1016"], "ship")
    scene.complete(ids["cart-1016"], "charge_card")
    scene.wait(4_000)
    scene.complete(ids["cart-1016"], "ship")
    scene.complete(ids["cart-1016"], "sign")
    scene.wait(60_000)
    ids["cart-1017"] = late = scene.order("cart-1017")
    scene.wait(1_000)
    scene.run(late, "charge_card", worker="celery@shop-2")
    scene.run(late, "ship")
    scene.wait(4_000)
    scene.lose(late, "charge_card", worker="celery@shop-2")
    scene.check()
    scene.wait(2_000)
    scene.run(late, "charge_card")
    scene.wait(8_000)
    scene.complete(late, "charge_card")
    scene.wait(16_000)
    scene.check()
    scene.wait(1_000)
    scene.run(late, "ship")
    scene.wait(30_000)
    scene.check()
    scene.wait(58_000)
    ids["cart-1018"] = scene.order("cart-1018")
    scene.wait(2_000)
    scene.check()
    return ids
