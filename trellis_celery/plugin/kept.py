"""What the store could not be told of when it happened: kept in memory, and told in that order when it is back.

A task that is done is not done again because the store was away for a moment, and a message that went out meanwhile
gets its clock. A process that ends before takes what it has kept with it. Then leases and deadlines bring back the step
that it ran, as after any death, and that step sends its messages again: the end of a run is told after them.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from typing import NamedTuple

from celery import signals

from trellis_celery import errors
from trellis_celery.domain.transitions import Rule
from trellis_celery.logs import EventLogger
from trellis_celery.monitoring.background import BackgroundSender, TryLater
from trellis_celery.ports import StepKey
from trellis_celery.services.recorder import Recorder

logger = EventLogger(__name__)

#: So many writes are kept by a process.
CAPACITY = 10_000
#: Often, because a worker lease lapses soon after its run has ended, s.
PAUSE_S = 0.25
#: A process that ends tries so long to tell what it has kept, s.
FLUSH_S = 2.0


class _Write(NamedTuple):
    key: StepKey
    rule: Rule
    message: bytes | None


class KeptWrites:
    """Applies rules to steps as soon as the store can be written again.

    `not_told`: is called with a write that the store was there for and did not take, since its step is gone, say.
    """

    def __init__(self, recorder: Callable[[], Recorder], not_told: Callable[[StepKey, Exception], None]) -> None:
        self._recorder = recorder
        self._not_told = not_told
        #: One of each process: a forked child begins anew.
        self._senders: dict[int, BackgroundSender[_Write]] = {}

    def keep(self, key: StepKey, rule: Rule, message: bytes | None = None) -> None:
        """Apply the rule later, and store the message then. Does not raise and waits for nobody."""
        logger.warning("write_kept", extra={"process_id": key.process_id, "step": key.step_name})
        self._sender().put(_Write(key, rule, message))

    def _sender(self) -> BackgroundSender[_Write]:
        sender = self._senders.get(os.getpid())
        if sender is None:  # of two threads that get here at once, one's is kept
            new = BackgroundSender(self._tell, name="trellis-kept", capacity=CAPACITY, pause_s=PAUSE_S)
            sender = self._senders.setdefault(os.getpid(), new)
            self._flush_at_the_end()
        return sender

    def _flush_at_the_end(self) -> None:
        for signal in (signals.worker_process_shutdown, signals.worker_shutdown):
            # To Celery before 5.7 the same method of another object is connected already.
            signal.connect(self._flush, weak=False, dispatch_uid=f"trellis.{id(self)}.kept")
        atexit.register(self._flush)

    def _tell(self, write: _Write) -> None:
        try:
            self._recorder().apply(write.key, write.rule, message=write.message)
        except errors.StoreUnavailable as error:
            raise TryLater(str(error)) from error
        except errors.TrellisError as error:
            self._not_told(write.key, error)

    def _flush(self, **_: object) -> None:
        sender = self._senders.get(os.getpid())
        if sender is not None:
            sender.flush(within_s=FLUSH_S)
