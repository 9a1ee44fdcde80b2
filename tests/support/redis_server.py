"""A Redis of a test's own that may be killed, frozen, filled, and started again where it was."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.programs import Program, free_port
from tests.support.services import missing
from tests.support.waiting import eventually
from trellis_celery.stores.redis import RedisStore
from trellis_celery.stores.redis.connect import connect

#: Everything is in a file at once.
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


def redis_binary() -> Path:
    binary = shutil.which("redis-server")
    if binary is None:
        missing("there is no redis-server on the path")
    return Path(binary)


class RedisServer:
    """Keeps nothing unless its options say so. Use as a context manager."""

    def __init__(
        self,
        directory: Path,
        *options: str,
        binary: Path | None = None,
        host: str = "127.0.0.1",
        prefix: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        name: str = "redis-server",
    ) -> None:
        self.port = free_port()
        self.host = host
        #: What is started next; it may be changed in between.
        self.binary = binary or redis_binary()
        self.options = options
        self._directory = directory
        #: A command that starts the server, in a network of its own, say.
        self._prefix = prefix
        self._env = env
        self._name = name
        self._program: Program | None = None

    def url(self, db: int = 0) -> str:
        return f"redis://{self.host}:{self.port}/{db}"

    def client(self, **options: Any) -> redis.Redis:
        """The caller closes it."""
        return redis.Redis(host=self.host, port=self.port, **options)

    @property
    def output(self) -> str:
        return self._program.output if self._program else ""

    @property
    def is_running(self) -> bool:
        return self._program is not None and self._program.is_running

    def start(self, *, wait: bool = True) -> None:
        own = ("--bind", self.host, "--port", str(self.port), "--dir", str(self._directory))
        nothing_kept = ("--save", "", "--appendonly", "no")
        command: list[str | Path] = [*self._prefix, self.binary, *own, *nothing_kept, *self.options]
        self._program = Program(command, name=self._name, directory=self._directory, env=self._env)
        if wait:
            self._program.wait_until(self.is_serving)

    def is_serving(self, *, within_s: float = 1) -> bool:
        """It answers, and has read its file."""
        with self.client(socket_timeout=within_s, retry=Retry(NoBackoff(), 0)) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def kill(self) -> None:
        if self._program is not None:
            self._program.kill()

    def freeze(self) -> None:
        """It stands still, and its connections stay open."""
        assert self._program is not None
        self._program.signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._program is not None
        self._program.signal_all(signal.SIGCONT)

    def cut_connections(self) -> None:
        """All but the one that asks for it."""
        with self.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)

    def wait_for(
        self, section: str, is_so: Callable[[dict[str, Any]], object], *, what: str, within_s: float = 20
    ) -> None:
        """Until its INFO says so."""
        with self.client(decode_responses=True) as client:
            eventually(lambda: is_so(client.info(section)), within_s=within_s, what=what)

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


@contextmanager
def store_of(url: str, *, timeout_ms: int = 2_000, **transport_options: Any) -> Iterator[RedisStore]:
    """A store whose connections are closed at the end, be its server there or not."""
    client: Any = connect(url, timeout_ms=timeout_ms, transport_options=transport_options)
    yield RedisStore(client)
    pool = getattr(client, "connection_pool", None)
    client.close() if pool is None else pool.disconnect()
    for sentinel in getattr(getattr(pool, "sentinel_manager", None), "sentinels", ()):
        sentinel.connection_pool.disconnect()
