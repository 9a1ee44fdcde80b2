"""So much memory, and no more: programs that want more are killed by the kernel."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.programs import Program
from tests.support.waiting import eventually

_ROOT = Path("/sys/fs/cgroup")


class MemoryLimit:
    """A control group of Linux."""

    def __init__(self, group: Path) -> None:
        self._group = group

    def impose(self, program: Program) -> None:
        """On the program, on all that it has started, and on what these will."""
        for pid in (program.pid, *program.child_pids()):
            (self._group / "cgroup.procs").write_text(str(pid))

    @property
    def kills(self) -> int:
        """How many processes the kernel has killed for it."""
        (name,) = (each for each in ("memory.events", "memory.oom_control") if (self._group / each).exists())
        words = (self._group / name).read_text().split()
        return int(words[words.index("oom_kill") + 1])


@contextmanager
def memory_limit(mebibytes: int) -> Iterator[MemoryLimit]:
    """Skips the test where nobody may make such a group. Programs that are in it at the end are killed."""
    is_old = (_ROOT / "memory").is_dir()
    group = _ROOT / ("memory" if is_old else "") / f"trellis-{os.getpid()}-{uuid4().hex[:8]}"
    limit = str(mebibytes << 20)
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if is_old else "memory.max")).write_text(limit)
        for name, value in (("memory.memsw.limit_in_bytes", limit), ("memory.swap.max", "0")):
            if (group / name).exists():
                (group / name).write_text(value)
    except OSError as error:
        if group.exists():
            group.rmdir()
        pytest.skip(f"no control group with a limit of memory may be made here: {error}")
    try:
        yield MemoryLimit(group)
    finally:
        eventually(lambda: not _killed(group), what="the group empty")
        group.rmdir()


def _killed(group: Path) -> list[str]:
    """Whom it has killed: all that were in the group still."""
    pids = (group / "cgroup.procs").read_text().split()
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    return pids
