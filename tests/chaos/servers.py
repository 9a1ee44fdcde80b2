"""Servers that are killed and come back: the store and Redis by `RedisServer`, and RabbitMQ with what it had."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Protocol

from tests.support import services


class Server(Protocol):
    def start(self) -> None: ...
    def kill(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...
    def cut_connections(self) -> None: ...


class RabbitMQ:
    """A node of its own. Queues and persistent messages are there again when it is."""

    def __init__(self, directory: Path) -> None:
        self._node = services.RabbitMQNode(directory)
        self.url = self._node.url

    def start(self) -> None:
        self._node.start()

    def kill(self) -> None:
        self._node.kill()

    def freeze(self) -> None:
        self._node.program.signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._node.program.signal_all(signal.SIGCONT)

    def cut_connections(self) -> None:
        self._node.control("close_all_connections", "chaos")

    def __enter__(self) -> RabbitMQ:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._node.close()
