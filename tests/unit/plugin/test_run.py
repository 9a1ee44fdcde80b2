"""A run whose start the store did not answer asks before it sends its links and chain."""

from __future__ import annotations

import pytest
from celery.exceptions import Ignore
from msgspec.structs import replace

from trellis_celery.plugin.headers import Header
from trellis_celery.plugin.run import Run
from trellis_celery.services.recorder import Recorder
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.testing.contract import builders


def run_of(store: MemoryStore, header: Header, *, celery_retries: int = 0) -> Run:
    return Run(Recorder(store), header, celery_retries=celery_retries, lease_ms=0, worker=None)


def test_the_retry_of_a_copy_may_not_send_links_beside_the_run_that_holds_the_step() -> None:
    store = MemoryStore()
    process = builders.created(store, "step")
    header = Header(process_id=process.id, process_type=process.process_type, step_name="step", task_id="1", attempt=1)
    holder = run_of(store, replace(header, run_id="holder"))
    holder.start()

    of_copy = run_of(store, replace(header, run_id="retry", sent_by="copy"), celery_retries=1)
    of_holder = run_of(store, replace(header, run_id="again", sent_by="holder"), celery_retries=1)

    with pytest.raises(Ignore, match="not finished: duplicate"):
        of_copy.claim_finish()
    of_holder.claim_finish()
    assert of_holder.is_accepted
