"""Real `celery worker` and `celery beat` programs around one app module."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.programs import Program
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]

#: Where `tests.support.apps` modules look for their servers.
BROKER_URL, REDIS_URL = "TRELLIS_TEST_APP_BROKER", "TRELLIS_TEST_APP_REDIS"
STORE_DB, RESULTS_DB, DIARY_DB = 1, 2, 3


class Diary:
    """What task bodies write down while they run, in the worker that runs them."""

    def __init__(self, redis_url: str) -> None:
        self._client = redis.Redis.from_url(f"{redis_url}/{DIARY_DB}", decode_responses=True)

    def write(self, page: str, entry: object = "") -> int:
        """Return the number of entries on this page, this one included."""
        return int(self._client.rpush(page, str(entry)))

    def read(self, page: str) -> list[str]:
        return self._client.lrange(page, 0, -1)

    def wait_for(self, page: str, *, entries: int = 1, within_s: float = 20) -> list[str]:
        """The page, once it has so many entries."""
        eventually(lambda: len(self.read(page)) >= entries, within_s=within_s, what=f"{entries} of {page!r} written")
        return self.read(page)

    def close(self) -> None:
        self._client.close()


class Cluster:
    """An app in this process, and the workers and beats that serve it."""

    def __init__(
        self, app_module: str, *, redis_url: str, directory: Path, broker_url: str = "", env: Mapping[str, str] = {}
    ) -> None:
        self.redis_url = redis_url
        self.broker_url = broker_url or f"{redis_url}/0"
        self.programs: list[Program] = []
        self._app_module = app_module
        self._directory = directory
        self._env = {BROKER_URL: self.broker_url, REDIS_URL: redis_url, **env}
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()
        self.diary = Diary(redis_url)
        self._environment = pytest.MonkeyPatch()
        for variable, value in self._env.items():
            self._environment.setenv(variable, value)
        sys.modules.pop(app_module, None)
        self.module = importlib.import_module(app_module)

    @property
    def app(self) -> Any:
        return self.module.app

    @property
    def trellis(self) -> Any:
        return self.module.trellis

    def broker(self) -> redis.Redis:
        """A client of the Redis broker; the caller closes it."""
        return redis.Redis.from_url(self.broker_url)

    def worker(
        self,
        *options: str,
        name: str = "worker",
        pool: str = "prefork",
        concurrency: int = 2,
        env: Mapping[str, str] = {},
        wait: bool = True,
        is_supervised: bool = False,
    ) -> Program:
        """Start a worker; return it when it takes tasks, or at once without `wait`.

        `is_supervised`: it is started again when it ends by itself, as one of Celery 5.7.0 may when Redis goes away.
        """
        flags = ("-n", f"{name}@test", "-P", pool, "-c", str(concurrency), "--without-gossip", "--without-mingle")
        worker = self._start("worker", *flags, "-l", "INFO", *options, name=name, env=env, is_supervised=is_supervised)
        if wait:
            self.wait_for_worker(worker)
        return worker

    def wait_for_worker(self, worker: Program) -> None:
        worker.wait_until(lambda: " ready." in worker.output)

    def beat(self, *options: str, name: str = "beat", env: Mapping[str, str] = {}) -> Program:
        schedule = ("-s", str(self._directory / f"{name}-schedule")) if "-S" not in options else ()
        beat = self._start("beat", "-l", "INFO", "--pidfile=", *schedule, *options, name=name, env=env)
        beat.wait_until(lambda: "beat: Starting..." in beat.output)
        return beat

    def _start(
        self, command: str, *options: str, name: str, env: Mapping[str, str] = {}, is_supervised: bool = False
    ) -> Program:
        path = str(ROOT)
        celery = [sys.executable, "-m", "celery", "--quiet", "-A", self._app_module, command]
        env = {**self._env, **env, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "C_FORCE_ROOT": "1"}
        supervisor = ("sh", "-c", 'until "$@"; do sleep 0.2; done', "supervisor") if is_supervised else ()
        program = Program([*supervisor, *celery, *options], name=name, directory=self._directory, env=env)
        self.programs.append(program)
        return program

    def consume(self, queue: str, *, by: str) -> None:
        """Have a running worker take messages of a further queue."""
        self.app.control.add_consumer(queue, destination=[f"{by}@test"], reply=True, timeout=5)

    def report(self) -> list[tuple[str, str]]:
        """The last output of each program, for the report of a failure."""
        return [(program.name, program.output[-3000:]) for program in self.programs]

    def close(self) -> None:
        """Kill everything, close this process's connections, and leave the environment as it was."""
        for program in self.programs:
            program.kill()
        self.app.close()
        self.diary.close()
        self._environment.undo()
