"""Programs that go on until a signal asks them to end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue


class Ending:
    """Knows whether a signal has asked for the end.

    No exception is raised for it, since Python drops a KeyboardInterrupt that comes in the middle of a destructor. A
    queue of this kind may be put to while it is got from; a `threading.Event` may not, and would wait for ever.
    """

    def __init__(self) -> None:
        self._asked = SimpleQueue[int]()

    def ask(self, number: int, _frame: object) -> None:
        """The handler of the signals."""
        self._asked.put(number)

    def comes_within(self, seconds: float) -> bool:
        """Wait so long for it. Once it was asked for, it is always there."""
        with suppress(Empty):
            self._asked.put(self._asked.get(timeout=seconds))
            return True
        return False


@contextmanager
def ending_by(*signals: signal.Signals) -> Iterator[Ending]:
    """Within, these signals do nothing but ask for the end."""
    ending = Ending()
    before = {number: signal.signal(number, ending.ask) for number in signals}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
