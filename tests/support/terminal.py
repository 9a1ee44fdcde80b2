"""A program on a terminal of its own: it may ask, draw in colours, and be ended with Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    """A pseudo-terminal of this size with a program on it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        directory: Path,
        env: Mapping[str, str] | None = None,
        columns: int = 80,
        lines: int = 40,
    ) -> None:
        self._fd, program_side = pty.openpty()
        fcntl.ioctl(program_side, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        self._process = subprocess.Popen(
            command,
            cwd=directory,
            env={**inherited, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **(env or {})},
            stdin=program_side,
            stdout=program_side,
            stderr=program_side,
            start_new_session=True,
            preexec_fn=_own_terminal,  # noqa: PLW1509 - it takes no lock
        )
        os.close(program_side)
        #: What the program has written, with its control characters.
        self.raw = ""

    @property
    def text(self) -> str:
        """What the program has written, without what moves the cursor or makes colours."""
        return _CONTROL.sub("", self.raw)

    def wait_for(self, text: str, *, within_s: float = 30) -> None:
        """Read until the program has written this."""
        end = time.monotonic() + within_s
        while text not in self.text:
            assert time.monotonic() < end, f"{text!r} was not written, but:\n{self.text[-4000:]}"
            if not self._read(0.2):
                assert text in self.text, f"it ended without {text!r}, but with:\n{self.text[-4000:]}"

    def press(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def exit_code(self, *, within_s: float = 30) -> int:
        """Read until the program ends."""
        end = time.monotonic() + within_s
        while self._read(0.2):
            assert time.monotonic() < end, f"it goes on:\n{self.text[-4000:]}"
        return self._process.wait(within_s)

    def _read(self, seconds: float) -> bool:
        """False when the program has closed its side."""
        ready, _, _ = select.select([self._fd], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self._fd, 65_536)
        except OSError:  # EIO: nobody is on the other side any more
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._fd)


def _own_terminal() -> None:
    """In the new process: Ctrl-C on the terminal reaches it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
