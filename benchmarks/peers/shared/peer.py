"""What the peers in Python share: where their servers are, the diary their steps write, and how they are called."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

REDIS = os.environ["PEER_REDIS"]
POSTGRESQL = os.environ["PEER_POSTGRESQL"]

_diary = os.open(os.environ["PEER_DIARY"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def step(name: str, ms: int = 0) -> None:
    """The body of every step: write down that it runs, and take so long."""
    os.write(_diary, f"{name} {time.time():.6f}\n".encode())
    if ms:
        time.sleep(ms / 1000)


def program(**commands: Callable[..., None]) -> None:
    """Be called as `app.py COMMAND NUMBER…`."""
    name, *numbers = sys.argv[1:]
    commands[name](*map(int, numbers))


def become(*command: str) -> None:
    """Go on as this program."""
    os.execvp(command[0], command)


def become_celery(app: str, command: str, *options: str) -> None:
    """The same for every peer on Celery: the default pool with two children, and everything else as it comes."""
    pool = ("--concurrency", "2") if command == "worker" else ("--pidfile=", "--schedule=beat")
    become("celery", "--quiet", "--app", app, command, *pool, "--loglevel", "WARNING", *options)
