"""An app whose steps nobody looks after: the last check was long ago, or never."""

from __future__ import annotations

import os

from celery import Celery

from trellis_celery import Trellis
from trellis_celery.ports import LastCheck
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.testing import ManualClock

app = Celery("late", broker="memory://", set_as_current=False)
app.conf.update(trellis_url="memory://", trellis_check_interval_ms=2_000)

clock = ManualClock()
store = MemoryStore(clock=clock)
trellis = Trellis(app, store=store)
if late_ms := int(os.environ["LATE_BY_MS"]):
    store.note_check(LastCheck(clock.now_ms() - late_ms, "beat@<b>shop</b>"))
