"""An app whose store takes its time to list processes."""

from __future__ import annotations

import time
from typing import Any

from celery import Celery

from trellis_celery import Trellis
from trellis_celery.domain.queries import ProcessSummary
from trellis_celery.stores.memory import MemoryStore

TAKES_S = 3.0


class SlowStore(MemoryStore):
    def list_processes(self, *args: Any, **options: Any) -> list[ProcessSummary]:
        time.sleep(TAKES_S)
        return super().list_processes(*args, **options)


app = Celery("slow", broker="memory://", set_as_current=False)
app.conf.update(trellis_url="memory://")
trellis = Trellis(app, store=SlowStore())
