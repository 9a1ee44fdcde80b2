"""The demo's child processes: each in a session of its own, its output in a file, and none left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from example_project.demo.errors import DemoError

#: How long children are given to end by themselves.
GRACE_S = 2.5


@dataclass
class Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path
    #: It was killed on purpose.
    is_killed: bool = False

    def output(self, *, lines: int = 30) -> str:
        """The last lines that it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Children:
    """Starts children and watches over them. `stop` ends them all, with whatever they started."""

    def __init__(self, directory: Path, env: Mapping[str, str]) -> None:
        self.directory = directory
        self.env = dict(env)
        self._children: list[Child] = []

    def start(self, name: str, *command: str) -> Child:
        log = self.directory / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.env,
                start_new_session=True,  # so Ctrl-C reaches only the demo, and a child can be killed with its children
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def kill(self, child: Child) -> None:
        """Kill a child and all its children, at once and without a word to them."""
        child.is_killed = True
        _signal_group(child, signal.SIGKILL)
        child.process.wait()

    def require_alive(self) -> None:
        """Raise DemoError with the output of a child that has ended by itself."""
        for child in self._children:
            code = child.process.poll()
            if code is not None and not child.is_killed:
                raise DemoError(f"{child.name} ended with exit code {code}. Its last words:\n\n{child.output()}")

    def outputs(self, *, lines: int) -> str:
        """The last lines of everybody, for when nobody knows whose fault it is."""
        return "\n".join(f"--- {child.name}\n{child.output(lines=lines)}" for child in self._children)

    def stop(self) -> None:
        """End all children, the first one last, because the others may need it until then."""
        children, self._children = self._children, []
        for child in children[1:]:
            _signal_group(child, signal.SIGTERM, main_only=True)
        give_up_at = time.monotonic() + GRACE_S
        for child in reversed(children):
            if child is children[0]:
                _signal_group(child, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.1, give_up_at - time.monotonic()))
            _signal_group(child, signal.SIGKILL)
            child.process.wait()


def _signal_group(child: Child, number: signal.Signals, *, main_only: bool = False) -> None:
    if child.process.returncode is not None and _is_there(child.process.pid):
        return  # it ended some time ago, and its number is somebody else's by now
    with contextlib.suppress(ProcessLookupError):
        if not main_only:
            os.killpg(child.process.pid, number)
        elif child.process.poll() is None:
            child.process.send_signal(number)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
