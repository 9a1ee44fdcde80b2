"""An app with a process of as many steps as there may be, and a long log."""

from __future__ import annotations

from celery import Celery

from trellis_celery import Trellis
from trellis_celery.domain.process import MAX_STEPS
from trellis_celery.domain.step import ProcessStep
from trellis_celery.services.processes import ProcessService
from trellis_celery.stores.memory import MemoryStore

app = Celery("large", broker="memory://", set_as_current=False)
app.conf.update(trellis_url="memory://")
store = MemoryStore()
trellis = Trellis(app, store=store)

service = ProcessService(store)
process = service.start_process(
    tenant_id="acme",
    process_type="Campaign",
    aggregate_type="Campaign",
    aggregate_id="large-1",
    steps=[ProcessStep(f"mail_{number:05}", timeout_ms=60_000) for number in range(MAX_STEPS)],
)
for name in list(process.steps)[:300]:
    service.start_step(process, name)
