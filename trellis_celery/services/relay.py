"""Tell other services what happened: every announced event at least once, in the order of its process's log.

The store keeps the events from the commit that wrote them until they are marked here. Relays may run side by side and
die at any point: what one has claimed, no other gets for `CLAIM_MS`, and what was published but not marked is published
again. Each event carries its number in the log of its process, so whoever hears it twice can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from trellis_celery.logs import EventLogger
from trellis_celery.ports import Clock, Outbox, Unrelayed

logger = EventLogger(__name__)

#: A relay that has not marked what it claimed for so long is taken for dead.
CLAIM_MS = 30_000


class Announcer(Protocol):
    """Publishes events to whoever wants to hear of them."""

    def announce(self, unrelayed: Sequence[Unrelayed]) -> list[int]:
        """Publish the events of each process in their order; how many of each were accepted. Does not raise."""
        ...


class ClockedOutbox(Outbox, Clock, Protocol):
    """A store that is an outbox."""


class RelayReport(Struct):
    """What one pass did, and what is left."""

    relayed: int = 0
    #: Processes of which something was not accepted; it is tried again.
    failed: int = 0
    #: Processes of which something is to be relayed still.
    waiting: int = 0


class RelayService:
    """Relays what waits in the outbox.

    batch_size
        So many processes are claimed at a time.
    budget_ms
        A pass ends after this time; what is left is for the next one.
    """

    def __init__(
        self, outbox: ClockedOutbox, announcer: Announcer, *, batch_size: int = 20, budget_ms: int = 5_000
    ) -> None:
        self._outbox = outbox
        self._announcer = announcer
        self._batch_size = batch_size
        self._budget_ms = budget_ms

    def relay(self) -> RelayReport:
        """One pass. Raises StoreUnavailable if the store does not answer; what was not relayed then stays."""
        report = RelayReport()
        end_ms = self._outbox.now_ms() + self._budget_ms
        while self._relay_some(report) and self._outbox.now_ms() < end_ms:
            continue
        report.waiting, _ = self._outbox.unrelayed()
        return report

    def discard(self) -> int:
        """Mark everything that waits as relayed, and tell nobody; return how many events that were."""
        count = 0
        while claimed := self._claim():
            for one in claimed:
                self._outbox.mark_relayed(one.process_id, last_number=_last_number(one, len(one.events)))
                count += len(one.events)
        return count

    def _relay_some(self, report: RelayReport) -> bool:
        """Whether there may be more that can be relayed now."""
        claimed = self._claim()
        if not claimed:
            return False
        accepted = self._announcer.announce(claimed)
        for one, count in zip(claimed, accepted, strict=True):
            report.relayed += count
            if count < len(one.events):
                report.failed += 1
            if count or not one.events:  # else the claim runs out, which is a while to wait before the next try
                self._outbox.mark_relayed(one.process_id, last_number=_last_number(one, count))
        return report.failed == 0

    def _claim(self) -> list[Unrelayed]:
        until_ms = self._outbox.now_ms() + CLAIM_MS
        return self._outbox.claim_unrelayed(limit=self._batch_size, until_ms=until_ms)


def _last_number(unrelayed: Unrelayed, count: int) -> int:
    return unrelayed.first_number + count - 1
