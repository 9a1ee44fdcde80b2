"""Processes and pages that the tests of the shell begin with."""

from __future__ import annotations

from collections.abc import Sequence

from trellis_celery.cli import text
from trellis_celery.cli.blocks import Block
from trellis_celery.domain.step import ProcessStep
from trellis_celery.services.processes import ProcessService
from trellis_celery.services.timeouts import TimeoutCheckerService
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.testing import ManualClock

START_MS = 1_800_000_000_000


class Shop:
    """A memory store with a clock of its own, and orders in it."""

    def __init__(self) -> None:
        self.clock = ManualClock(START_MS)
        self.store = MemoryStore(clock=self.clock)
        self.service = ProcessService(self.store)

    @staticmethod
    def a_step() -> list[ProcessStep]:
        return [ProcessStep("only")]

    def order(self, number: int = 1, *, steps: Sequence[ProcessStep] = (), **options: object) -> str:
        """Start an order with the steps `charge`, one retry, and `ship`; return its id."""
        process = self.service.start_process(
            tenant_id="berlin",
            process_type="Order",
            aggregate_type="Order",
            aggregate_id=f"order-{number}",
            steps=steps or [ProcessStep("charge", timeout_ms=60_000, retries_permitted=1), ProcessStep("ship")],
            **options,  # type: ignore[arg-type]
        )
        return process.id

    def give_up_on(self, process_id: str, step_name: str = "charge") -> None:
        """Let all attempts of a step run out of time."""
        self.service.start_step(process_id, step_name)
        while not self.service.get_process(process_id).steps[step_name].state.is_terminal:
            self.clock.advance(60_000)
            self.check()

    def check(self) -> None:
        TimeoutCheckerService(self.store).check_for_timed_out_steps(by="test")


def plain(blocks: Sequence[Block]) -> str:
    return text.page(blocks)


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.split("  ") if cell.strip()]
