"""celery-director: a workflow in YAML, kept in a database, that runs as a Celery chain.

A workflow whose worker was killed stays in `progress`. Each ends with a task of director's own that sleeps for half a
second; it comes after the last step, and is not counted here.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from peer import POSTGRESQL, REDIS, become, become_celery, program

os.environ.update(
    DIRECTOR_HOME=str(Path(__file__).parent),
    DIRECTOR_DATABASE_URI=POSTGRESQL,
    DIRECTOR_BROKER_URI=f"{REDIS}/0",
    DIRECTOR_RESULT_BACKEND_URI=f"{REDIS}/1",
)

from director._auto import app
from director.builder import WorkflowBuilder
from director.models.workflows import Workflow


def start(processes: int, ms: int) -> None:
    with app.app_context():
        for _ in range(processes):
            workflow = Workflow(project="bench", name="THREE", payload={"ms": ms})
            workflow.save()
            WorkflowBuilder(workflow.id).run()


if __name__ == "__main__":
    program(
        setup=partial(become, "director", "db", "upgrade"),
        start=start,
        work=partial(become_celery, "director._auto:cel", "worker"),
    )
