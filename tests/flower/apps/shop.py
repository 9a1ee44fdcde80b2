"""An app whose processes are made up and whose time stands still: pages look the same each time.

The store is this program's own memory, so Flower sees what is written here and what is done through its pages.
"""

from __future__ import annotations

import os

from celery import Celery

from tests.flower.apps.story import tell
from trellis_celery import Trellis
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.testing import ManualClock

app = Celery("shop", broker="memory://", set_as_current=False)
app.conf.update(trellis_url="memory://", trellis_show_args=os.environ.get("SHOP_SHOWS_ARGUMENTS") == "1")

clock = ManualClock(1_780_000_000_000)
store = MemoryStore(clock=clock)
trellis = Trellis(app, store=store)
tell(store, clock, is_hostile=os.environ.get("SHOP_IS_FRIENDLY") != "1")
