"""The app `ward` as it was before somebody wrote `Trellis(app)`."""

from __future__ import annotations

import os

from tests.support.apps.making import OwnTasks
from tests.support.cluster import BROKER_URL

app = OwnTasks("ward", broker=os.environ[BROKER_URL], set_as_current=False)
app.conf.update(broker_connection_retry_on_startup=True, task_default_queue="ward", control_exchange="ward.control")


@app.task(name="ward.examine")
def examine(patient: str = "") -> None: ...
