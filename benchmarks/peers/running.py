"""A peer at work: on servers of its own that are empty at the start, its steps in a diary."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import redis

from benchmarks.peers import environments
from benchmarks.peers.table import HERE, Peer
from tests.support import services
from tests.support.programs import Program
from tests.support.waiting import eventually

ROOT = HERE.parents[1]
START_TAKES_S = 120


class Run:
    def __init__(self, peer: Peer, *, redis_url: str, postgresql_url: str, directory: Path) -> None:
        self._peer = peer
        self._directory = directory
        self._diary = directory / "diary"
        self._interpreter = environments.interpreter(peer)
        self._programs: list[Program] = []
        self._env = {
            "PEER_REDIS": redis_url,
            "PEER_POSTGRESQL": postgresql_url,
            "PEER_DIARY": str(self._diary),
            "PATH": os.pathsep.join([str(self._interpreter.parent), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join(str(path) for path in (peer.path, HERE / "shared", ROOT)),
            "C_FORCE_ROOT": "1",
            **environments.variables(peer),
            **peer.env,
        }

    def call(self, command: str, *numbers: int) -> None:
        """Run this command of the peer to its end."""
        program = self.launch(command, *numbers)
        assert program.wait(within_s=START_TAKES_S) == 0, program.output[-4000:]

    def launch(self, command: str, *numbers: int, env: Mapping[str, str] = {}) -> Program:
        app = self._peer.path / ("app.py" if self._peer.is_python else "app.js")
        name = f"{command}-{len(self._programs)}"
        line: list[str | Path] = [self._interpreter, app, command, *(str(number) for number in numbers)]
        program = Program(line, name=name, directory=self._directory, env={**self._env, **env})
        self._programs.append(program)
        return program

    def launch_beside(self) -> None:
        for command in self._peer.beside:
            self.launch(command)

    def times(self, step: str) -> list[float]:
        """When the bodies of this step began, in seconds since 1970."""
        lines = self._diary.read_text().splitlines() if self._diary.exists() else []
        return [float(line.split()[1]) for line in lines if line.startswith(f"{step} ")]

    def wait_for(self, step: str, *, times: int, within_s: float) -> None:
        """Wait until the step began so often; AssertionError with the programs' last words if it does not."""

        def is_there() -> bool:
            return self._diary.exists() and self._diary.read_bytes().count(f"{step} ".encode()) >= times

        try:
            eventually(is_there, within_s=within_s, every_s=0.5, what=f"{times} of {step}")
        except AssertionError as error:
            words = "\n".join(f"{program.name}: {program.output[-2000:]}" for program in self._programs)
            raise AssertionError(f"{self._peer.name}: {error}\n{words}") from None

    def close(self) -> None:
        for program in self._programs:
            program.kill()


@contextmanager
def running(peer: Peer, postgresql_url: str) -> Iterator[Run]:
    """The peer, set up. `postgresql_url`: a server, on which it has a database of its own."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with services.redis_server(directory) as redis_url, database(postgresql_url) as database_url:
            with redis.Redis.from_url(redis_url) as client:
                client.config_set("appendonly", "yes")
            run = Run(peer, redis_url=redis_url, postgresql_url=database_url, directory=directory)
            try:
                if peer.has_setup:
                    run.call("setup")
                yield run
            finally:
                run.close()


@contextmanager
def database(server_url: str) -> Iterator[str]:
    name = f"peer_{uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        yield f"{server_url.rpartition('/')[0]}/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
