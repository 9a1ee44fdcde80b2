"""Who sends the orders: a caller that repeats a call until it is told that it was accepted."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from celery import chain
from kombu.exceptions import OperationalError

from trellis_celery.errors import TrellisError


@dataclass(slots=True)
class Accepted:
    """What was accepted: the id of each process, by its business key."""

    processes: dict[str, str] = field(default_factory=dict[str, str])
    #: Calls that ended with an error, and were repeated.
    refused: int = 0


class Client(threading.Thread):
    def __init__(self, module: ModuleType, *, every_s: float) -> None:
        super().__init__(name="client", daemon=True)
        self._module = module
        self._every_s = every_s
        self._stop_asked = threading.Event()
        self.accepted = Accepted()
        self._broken_by: BaseException | None = None

    def run(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self._broken_by = error

    def _run(self) -> None:
        number = 0
        while not self._stop_asked.wait(self._every_s):
            number += 1
            process_type = self._module.Alarm if number % 8 == 0 else self._module.Order
            deadly = self._module.DEADLY if number % 24 == 0 else ""
            self._start(process_type, f"{deadly}{process_type.__name__.lower()}-{number}")

    def stop(self) -> None:
        """End when the call that is under way has been accepted."""
        self._stop_asked.set()
        self.join()
        self.require_whole()

    def require_whole(self) -> None:
        """Raise what it was broken by, if it was."""
        if self._broken_by is not None:
            raise self._broken_by

    def _start(self, process_type: Any, order_id: str) -> None:
        """Once an answer says that it was accepted it counts; before that, the same call is made again."""
        while True:
            try:
                with self._module.trellis.start_process(
                    process_type, tenant_id="chaos", aggregate_type="Order", aggregate_id=order_id
                ) as process:
                    self._send(process_type, order_id)
            except (TrellisError, OperationalError, OSError):
                self.accepted.refused += 1
                time.sleep(0.2)
            else:
                self.accepted.processes[order_id] = process.id
                return

    def _send(self, process_type: Any, order_id: str) -> None:
        module = self._module
        if process_type is module.Alarm:
            module.ring.delay(order_id)
        else:
            steps = (module.charge, module.ship, module.confirm)
            chain(module.reserve.s(order_id), *(step.s() for step in steps)).apply_async()
