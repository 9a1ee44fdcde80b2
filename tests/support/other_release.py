"""A copy of the package as another release of it might be: a program of that release runs beside ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.cluster import ROOT

_PACKAGE = "trellis_celery"


@dataclass(frozen=True)
class Edit:
    """What another release has in place of something that occurs once in a file."""

    path: str
    ours: str
    theirs: str


class OtherRelease:
    def __init__(self, directory: Path, edits: Sequence[Edit]) -> None:
        self._directory = directory
        shutil.copytree(ROOT / _PACKAGE, directory / _PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
        for edit in edits:
            path = directory / _PACKAGE / edit.path
            text = path.read_text()
            assert text.count(edit.ours) == 1, f"{edit.path} has changed: {edit.ours!r}"
            path.write_text(text.replace(edit.ours, edit.theirs))

    def start(self, program: str, *arguments: str) -> Running:
        """Run a program in Python."""
        return Running([sys.executable, "-c", program, *arguments], self._directory)

    def run(self, program: str, *arguments: str) -> str:
        """Its output; AssertionError with its errors unless it succeeds."""
        return self.start(program, *arguments).end()


class Running:
    """A program that is talked to by lines."""

    def __init__(self, command: Sequence[str], directory: Path) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(directory)},
            text=True,
            bufsize=1,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    def line(self) -> str:
        """The next line that it prints."""
        return self._stdout.readline().rstrip("\n")

    def tell(self, line: str) -> None:
        self._stdin.write(f"{line}\n")

    def end(self) -> str:
        """The rest of its output, once it has ended; AssertionError with it unless it has succeeded."""
        with self._process:
            self._stdin.close()
            output = self._stdout.read()
        assert self._process.returncode == 0, output
        return output
