"""What `import trellis_celery` gives, and what it does not do."""

from __future__ import annotations

import subprocess
import sys

import trellis_celery


def test_the_public_names_are_the_ones_that_are_listed() -> None:
    visible = {name for name, value in vars(trellis_celery).items() if name[0] != "_" and not _is_module(value)}

    assert sorted(visible | {"signals"}) == sorted(trellis_celery.__all__)
    assert len(trellis_celery.__all__) <= 26


def test_every_public_name_says_what_it_is() -> None:
    undocumented = [name for name in trellis_celery.__all__ if not getattr(trellis_celery, name).__doc__]

    assert undocumented == []


def test_importing_opens_no_connection_and_listens_to_no_signal() -> None:
    program = """
import socket

def refuse(*_):
    raise AssertionError("a connection was opened")

socket.socket.connect = refuse
import trellis_celery
from celery import signals

receivers = [
    uid
    for signal in vars(signals).values()
    for (uid, _), _ in getattr(signal, "receivers", None) or ()
    if "trellis" in str(uid)
]
assert receivers == [], receivers
"""

    subprocess.run([sys.executable, "-c", program], check=True)


def _is_module(value: object) -> bool:
    return type(value).__name__ == "module"
