"""So much memory, and no more: programs that want more are killed by the kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
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
    """Skips the test where nobody may make such a group."""
    is_old = (_ROOT / "memory").is_dir()
    group = _ROOT / ("memory" if is_old else "") / f"trellis-{os.getpid()}-{uuid4().hex[:8]}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if is_old else "memory.max")).write_text(str(mebibytes << 20))
    except OSError as error:
        if group.exists():
            group.rmdir()
        pytest.skip(f"no control group with a limit of memory may be made here: {error}")
    try:
        yield MemoryLimit(group)
    finally:
        eventually(lambda: not (group / "cgroup.procs").read_text(), what="the group empty")
        group.rmdir()
