"""An app whose one process is only in the archive any more."""

from __future__ import annotations

import os

from celery import Celery

from trellis_celery import Trellis
from trellis_celery.bootstrap import schemas
from trellis_celery.domain.step import ProcessStep
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.testing import ManualClock

app = Celery("archived", broker="memory://", set_as_current=False)
app.conf.update(
    trellis_url="memory://", trellis_history_url=f"sqlite:///{os.environ['ARCHIVE_PATH']}", trellis_retention_ms=1
)
clock = ManualClock()
trellis = Trellis(app, store=MemoryStore(clock=clock))
for _, schema in schemas(trellis.settings):
    if schema is not None:
        schema.migrate(lambda done: None)

process = trellis.processes.start_process(
    tenant_id="acme",
    process_type="Order",
    aggregate_type="Order",
    aggregate_id="order-1",
    steps=[ProcessStep("pack"), ProcessStep("ship")],
)
clock.advance(5_000)
trellis.processes.complete_step(process, "pack")
trellis.processes.fail_step(process, "ship", "no such address", by="ann@example.com")
PROCESS_ID = process.id
for _ in range(2):  # into the archive, and out of the store
    clock.advance(60_000)
    trellis.history.archive_and_remove()
