"""An app with everything short, so that a test need not wait."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from tests.support.cluster import BROKER_URL, REDIS_URL, RESULTS_DB, STORE_DB, Diary
from trellis_celery import Trellis

#: As short as a busy machine allows.
WORKER_LOST_MS = 1_500


class OwnTasks(Celery):
    """An app whose tasks are no other app's: a test may make the same module twice."""

    def task(self, *args: Any, **options: Any) -> Any:
        return super().task(*args, **{"shared": False, **options})


def make_app(name: str, **settings: Any) -> tuple[Celery, Trellis, Diary]:
    redis_url = os.environ[REDIS_URL]
    app = OwnTasks(name, broker=os.environ[BROKER_URL], backend=f"{redis_url}/{RESULTS_DB}", set_as_current=False)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_enable_remote_control=True,
        task_default_queue=name,
        control_exchange=f"{name}.control",
        trellis_url=f"{redis_url}/{STORE_DB}",
        trellis_worker_lost_ms=WORKER_LOST_MS,
        trellis_check_interval_ms=1_000,
        **settings,
    )
    return app, Trellis(app), Diary(redis_url)
