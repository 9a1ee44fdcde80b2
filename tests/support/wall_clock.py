"""A wall clock that a test sets, for programs that it starts."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

from tests.support.services import missing

_SOURCE = Path(__file__).with_name("clock_shim.c")


class WallClock:
    """Right at first. Programs that are started with `env` go by it."""

    def __init__(self, directory: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            missing("there is no C compiler on the path")
        library, self._offset = directory / "clock_shim.so", directory / "offset"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, _SOURCE], check=True)
        self.set_off(0)
        self.env = {"LD_PRELOAD": str(library), "CLOCK_SHIM": str(self._offset)}

    def set_off(self, seconds: int) -> None:
        """From now on it is so much ahead."""
        with self._offset.open("r+b" if self._offset.exists() else "wb") as file:
            file.write(struct.pack("q", seconds))
