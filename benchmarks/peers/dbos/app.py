"""DBOS: a workflow of three steps, each of them a row in PostgreSQL when it is done.

A workflow whose executor was killed goes on when an executor of the same name is started. If one of another name is,
the workflow waits.
"""

from __future__ import annotations

import threading

from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions
from peer import POSTGRESQL, program, step

CONFIG: DBOSConfig = {"name": "three", "system_database_url": POSTGRESQL, "log_level": "WARNING"}


@DBOS.step()
def first() -> None:
    step("first")


@DBOS.step()
def middle(ms: int) -> None:
    step("middle", ms)


@DBOS.step()
def last() -> None:
    step("last")


@DBOS.workflow()
def three(ms: int) -> None:
    first()
    middle(ms)
    last()


def launch() -> None:
    DBOS(config=CONFIG)
    DBOS.launch()
    DBOS.register_queue("threes")


def setup() -> None:
    launch()
    DBOS.destroy()


def start(processes: int, ms: int) -> None:
    client = DBOSClient(system_database_url=POSTGRESQL)
    for _ in range(processes):
        options: EnqueueOptions = {"queue_name": "threes", "workflow_name": three.__qualname__}
        client.enqueue(options, ms)
    client.destroy()


def work() -> None:
    launch()
    threading.Event().wait()


if __name__ == "__main__":
    program(setup=setup, start=start, work=work)
