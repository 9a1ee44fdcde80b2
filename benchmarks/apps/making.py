"""An app with the default settings of trellis."""

from __future__ import annotations

import os

from celery import Celery

from tests.support.cluster import BROKER_URL, REDIS_URL, STORE_DB, Diary
from trellis_celery import Trellis


def make_app(name: str) -> tuple[Celery, Trellis, Diary]:
    redis_url = os.environ[REDIS_URL]
    app = Celery(name, broker=os.environ[BROKER_URL], set_as_current=False)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        task_ignore_result=True,
        trellis_url=f"{redis_url}/{STORE_DB}",
    )
    return app, Trellis(app), Diary(redis_url)
