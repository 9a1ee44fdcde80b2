"""Tasks that do next to nothing, tracked or not, and a marker that tells when it is passed."""

from __future__ import annotations

import os
import socket
import time
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import psutil
from celery import signals

from benchmarks.apps.making import make_app
from tests.support.cluster import REDIS_URL
from trellis_celery import ProcessType, Step, process_step

app, trellis, diary = make_app("noops")


class Noops(ProcessType):
    tracked = Step(timeout_ms=600_000, retries_permitted=1)


@app.task(name="noops.plain", send_events=False, shared=False)
def plain(ms: int = 0) -> None:
    if ms:
        time.sleep(ms / 1000)


@process_step(Noops.tracked)
@app.task(name="noops.tracked", send_events=False, shared=False)
def tracked(ms: int = 0) -> None:
    if ms:
        time.sleep(ms / 1000)


@app.task(name="noops.announced", send_events=True, shared=False)
def announced(ms: int = 0) -> None:
    """Of this one a worker with `-E` sends Celery's events."""
    if ms:
        time.sleep(ms / 1000)


@app.task(name="noops.asking", send_events=False, shared=False)
def asking(ms: int = 0) -> None:
    """Asks the store's server for nothing, before and after: no tracking that asks twice can cost less."""
    if ms:
        time.sleep(ms / 1000)


@signals.task_prerun.connect(sender=asking)
@signals.task_success.connect(sender=asking)
def ask(**_: Any) -> None:
    _ask()


_ask = trellis.store.client.register_script("return 1")


@app.task(name="noops.pinging", send_events=False, shared=False)
def pinging(ms: int = 0) -> None:
    """The same on a bare socket, without any client: no program that asks twice can take less CPU time."""
    if ms:
        time.sleep(ms / 1000)


@signals.task_prerun.connect(sender=pinging)
@signals.task_success.connect(sender=pinging)
def ping(**_: Any) -> None:
    server = _own_socket(os.getpid())
    server.sendall(b"PING\r\n")
    server.recv(64)


@cache
def _own_socket(_pid: int) -> socket.socket:
    """Of this process."""
    address = urlsplit(os.environ[REDIS_URL])
    return socket.create_connection((address.hostname, address.port))


@app.task(name="noops.mark", send_events=False, shared=False)
def mark(name: str) -> None:
    """Write down the time, and the CPU time that the whole worker has used, in nanoseconds."""
    worker = psutil.Process(os.getppid())
    cpu = sum(_cpu_ns(pid) for pid in (worker.pid, *(child.pid for child in worker.children())))
    diary.write("marks", f"{name} {time.monotonic_ns()} {cpu}")


def _cpu_ns(pid: int) -> int:
    """By Linux's clock of another process: `psutil` counts hundredths of a second."""
    return time.clock_gettime_ns((~pid << 3) | 2)
