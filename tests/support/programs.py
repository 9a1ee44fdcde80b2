"""Programs that a test starts: each in its own session, with its output kept, and gone when the test is."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.waiting import eventually

_PR_SET_PDEATHSIG = 1


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def is_listening(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _die_with_parent() -> None:
    """In the new process: be killed when pytest is, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Program:
    """A running program and all that it starts."""

    def __init__(
        self, command: Sequence[str | Path], *, name: str, directory: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.output_path = directory / f"{name}.log"
        with self.output_path.open("ab") as output:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                cwd=directory,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - it takes no lock
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return self.output_path.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def child_pids(self) -> list[int]:
        with suppress(psutil.NoSuchProcess):
            return [child.pid for child in psutil.Process(self.pid).children(recursive=True)]
        return []

    def wait_until(self, ready: Callable[[], object], *, within_s: float = 30) -> None:
        """Wait until `ready()`; fail at once, with the output, if the program ends before."""

        def is_ready() -> bool:
            assert self.is_running, f"{self.name} ended with {self._process.returncode}:\n{self.output[-4000:]}"
            return bool(ready())

        try:
            eventually(is_ready, within_s=within_s, what=f"{self.name} ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output[-4000:]}") from None

    def signal(self, number: int) -> None:
        """To the program alone."""
        self._process.send_signal(number)

    def signal_all(self, number: int) -> None:
        """To the program and all its children."""
        if not self.is_running and psutil.pid_exists(self.pid):
            return  # it ended some time ago, and its number is somebody else's by now
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """As if the power of its machine had failed."""
        self.signal_all(signal.SIGKILL)
        self._process.wait()

    def wait(self, *, within_s: float = 20) -> int:
        """Its exit status, once it has ended by itself."""
        return self._process.wait(within_s)

    def stop(self, *, within_s: float = 5) -> None:
        """Ask it to end, and kill what is left."""
        with suppress(subprocess.TimeoutExpired):
            self._process.terminate()
            self._process.wait(within_s)
        self.kill()
