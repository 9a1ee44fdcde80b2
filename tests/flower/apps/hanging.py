"""An app whose store never answers, and does not keep to its own limit either."""

from __future__ import annotations

import time

from celery import Celery

from trellis_celery import Trellis
from trellis_celery.ports import LastCheck
from trellis_celery.stores.memory import MemoryStore


class HangingStore(MemoryStore):
    def last_check(self) -> LastCheck:
        time.sleep(3_600)
        return super().last_check()


app = Celery("hanging", broker="memory://", set_as_current=False)
app.conf.update(trellis_url="memory://")
trellis = Trellis(app, store=HangingStore())
