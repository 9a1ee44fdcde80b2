"""Containers for pytest-celery that are programs of this machine: its clusters without Docker.

A node asks its container for a few things only. What is here answers as a Docker container would: it has an id, a
status and logs, it can be killed and started again, and it is empty then.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGKILL, Signals
from typing import Any
from uuid import uuid4

import redis
from pytest_celery.api.container import CeleryTestContainer
from pytest_celery.vendors.worker.container import CeleryWorkerContainer

from tests.support import services
from tests.support.cluster import ROOT
from tests.support.programs import Program, free_port


class ProcessContainer(CeleryTestContainer):  # type: ignore[misc]
    """A program under the name of a container. Stop it with `teardown`."""

    def __init__(self, name: str, directory: Path) -> None:
        self._id = uuid4().hex
        self._name = name
        self._directory = directory
        self._programs: list[Program] = []
        self._start()

    def _command(self) -> Sequence[str | Path]:
        raise NotImplementedError

    def _env(self) -> Mapping[str, str]:
        return {}

    def _start(self) -> None:
        """Each start has a log of its own, so that it is known when it is ready."""
        log = f"{self._name}-{len(self._programs)}"
        self._programs.append(Program(self._command(), name=log, directory=self._directory, env=self._env()))

    @property
    def id(self) -> str:
        return self._id

    @property
    def name(self) -> str:
        return self._name

    @property
    def status(self) -> str:
        return "running" if self._programs[-1].is_running else "exited"

    def ready(self) -> bool:
        program, prompt = self._programs[-1], self.ready_prompt or ""
        program.wait_until(lambda: prompt in program.output)
        return True

    def reload(self) -> None:
        """Nothing: the status is always the present one."""

    def logs(self) -> str:
        return "".join(program.output for program in self._programs)

    def kill(self, signal: str | int = "SIGKILL") -> None:
        """As in a container, whose other processes end with its first."""
        number = Signals[signal] if isinstance(signal, str) else signal
        program = self._programs[-1]
        if number == SIGKILL:
            program.kill()
        else:
            program.signal(number)
            program.wait()

    def restart(self, timeout: float = 10) -> None:
        self._programs[-1].stop(within_s=timeout)
        self._start()
        self.ready()

    def teardown(self) -> None:
        for program in self._programs:
            program.kill()


class ValkeyProcess(ProcessContainer):
    """A Redis-like server that keeps its port and nothing else."""

    ready_prompt = "Ready to accept connections"

    def __init__(self, name: str, directory: Path) -> None:
        self._port = free_port()
        super().__init__(name, directory)

    def _command(self) -> Sequence[str | Path]:
        return services.server_command(services.valkey_binary(), self._directory, self._port)

    @property
    def celeryconfig(self) -> dict[str, Any]:
        """Inside and outside are the same here."""
        url = f"redis://127.0.0.1:{self._port}/0"
        return {"url": url, "host_url": url, "hostname": "127.0.0.1", "port": self._port, "vhost": "0"}

    @property
    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.celeryconfig["host_url"], decode_responses=True)


class WorkerProcess(ProcessContainer, CeleryWorkerContainer):  # type: ignore[misc]
    """A worker of an app module that finds its servers where pytest-celery's own workers do: in the environment."""

    ready_prompt = " ready."

    def __init__(self, name: str, directory: Path, *, app_module: str, cluster_config: Mapping[str, Any]) -> None:
        self._app_module = app_module
        self._cluster_config = cluster_config
        super().__init__(name, directory)

    def _command(self) -> Sequence[str | Path]:
        options = ("-l", self.log_level(), "-Q", self.worker_queue(), "-n", f"{self.worker_name()}@{self.id[:12]}")
        return [sys.executable, "-m", "celery", "-A", self._app_module, "worker", "-c", "2", *options]

    def _env(self) -> Mapping[str, str]:
        return {**self.initial_env(self._cluster_config), "PYTHONPATH": str(ROOT), "C_FORCE_ROOT": "1"}
