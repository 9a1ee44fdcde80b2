"""An app with nothing wrong about it, until the environment says so."""

from __future__ import annotations

import os

import trellis_celery
from tests.support.apps.making import make_app
from trellis_celery import ProcessType, Step, process_step

trellis_celery.__version__ = os.environ.get("TRELLIS_TEST_VERSION", trellis_celery.__version__)

app, trellis, diary = make_app(
    "ward",
    broker_transport_options={"socket_timeout": 30, "visibility_timeout": 300},
    trellis_retention_ms=3_600_000,
    task_time_limit=float(os.environ.get("TRELLIS_TEST_TIME_LIMIT", "40")) or None,
)
app.conf.trellis_url = os.environ.get("TRELLIS_TEST_STORE", app.conf.trellis_url)
app.conf.update(item.split("=", 1) for item in os.environ.get("TRELLIS_TEST_SETTINGS", "").split())
if os.environ.get("TRELLIS_TEST_REDBEAT"):
    app.conf.redbeat_redis_url = f"{os.environ['TRELLIS_TEST_APP_REDIS']}/4"


class Visit(ProcessType):
    examine = Step(timeout_ms=30_000, retries_permitted=2)
    #: Nobody answers.
    consent = Step(timeout_ms=1_000, external=True)


@process_step(Visit.examine)
@app.task(name="ward.examine")
def examine(patient: str = "") -> None: ...
