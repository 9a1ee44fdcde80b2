"""Servers that are killed and come back with what they had: the store, and either broker."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Protocol

import redis

from tests.support import services
from tests.support.programs import Program, free_port


class Server(Protocol):
    url: str

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def cut_connections(self) -> None: ...
    def close(self) -> None: ...


class Valkey:
    """An embedded Valkey. With `is_durable` it has an append-only file; without, it comes back empty."""

    def __init__(self, directory: Path, name: str, *, is_durable: bool) -> None:
        self._name = name
        self._directory = directory / name
        self._directory.mkdir()
        self._port = free_port()
        self._append = "yes" if is_durable else "no"
        self.url = f"redis://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        command = services.server_command(services.valkey_binary(), self._directory, self._port)
        command[command.index("--appendonly") + 1] = self._append
        self._program = Program(command, name=self._name, directory=self._directory)
        self._program.wait_until(self._answers)

    def kill(self) -> None:
        self._program.kill()

    def pause(self) -> None:
        self._program.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._program.signal(signal.SIGCONT)

    def cut_connections(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.client_kill_filter(_type="normal", skipme=True)

    def close(self) -> None:
        self._program.kill()

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.RedisError:  # not there yet, or still reading its file
            return False


class RabbitMQ:
    """A node of its own. Queues and persistent messages are there again when it is."""

    def __init__(self, directory: Path) -> None:
        self._node = services.RabbitMQNode(directory)
        self.url = self._node.url
        self.start()

    def start(self) -> None:
        self._node.start()

    def kill(self) -> None:
        self._node.kill()

    def pause(self) -> None:
        self._node.program.signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._node.program.signal_all(signal.SIGCONT)

    def cut_connections(self) -> None:
        self._node.control("close_all_connections", "chaos")

    def close(self) -> None:
        self._node.close()
