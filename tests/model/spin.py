"""Run spin: make a program of a model, compile it, and read what it says.

The model is copied into a directory of its own, so what spin and the compiler leave there disturbs nobody.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support import services

MODEL = Path(__file__).parent
#: A configuration that needs more is too big for a laptop, and has to be cut in two.
MEMORY_MB = 900
TIMEOUT_S = 300

#: What pan says where it did not look at everything.
_INCOMPLETE = ("max search depth too small", "out of memory", "Search not completed", "hash table full")


class SpinError(AssertionError):
    """Spin, the compiler or the program that they made did not do what it was asked."""


@dataclass(frozen=True, slots=True)
class Change:
    """One text of the model replaced by another. The old one must be there, and once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Search:
    """What came of looking at every state."""

    states: int
    depth: int
    memory_mb: float
    #: What is broken, in pan's words; empty if nothing is.
    broken: str
    #: The statements that were never executed; once for each place where they are.
    unreached: list[str]


def require() -> None:
    """Skip the test if spin is not installed; fail it where everything has to be."""
    for program in ("spin", "gcc"):
        if shutil.which(program) is None:
            services.missing(f"there is no {program} on the path")


class Model:
    """One of the models in this directory, with constants of its own, and perhaps changed."""

    def __init__(
        self, name: str, constants: Mapping[str, object], *, directory: Path, change: Change | None = None
    ) -> None:
        require()
        self._name = name
        self._constants = [f"-D{constant}={value}" for constant, value in constants.items()]
        self._directory = directory
        for source in MODEL.glob("*.pml"):
            text = source.read_text()
            if change is not None and change.file == source.name:
                assert text.count(change.old) == 1, f"{text.count(change.old)} times in {source.name}: {change.old}"
                text = text.replace(change.old, change.new)
            (directory / source.name).write_text(text)

    def search(self, *, is_live: bool = False, depth: int = 200_000) -> Search:
        """Look at every state; with `is_live`, at every endless run in which nobody who can act waits for ever."""
        self._build("-DNFAIR=3" if is_live else "-DSAFETY", f"-DMEMLIM={MEMORY_MB}")
        output = self._run("./pan", f"-m{depth}", "-w20", *(("-a", "-f") if is_live else ()))
        is_broken = " errors: 0" not in output
        if not is_broken and any(words in output for words in _INCOMPLETE):
            raise SpinError(output)
        return Search(
            states=int(_find(r"(\d+) states, stored", output)),
            depth=int(_find(r"depth reached (\d+)", output)),
            memory_mb=float(_find(r"([\d.]+)\s+total actual memory usage", output)),
            broken=_find(r"pan:1: (.*) \(at depth", output) if is_broken else "",
            unreached=re.findall(r'state \d+, "(.*)"$', output, re.MULTILINE),
        )

    def places(self, statement: str) -> int:
        """How many of the statements that `search` could have executed are this one."""
        return (self._directory / "pan.t").read_text().count(f'"{statement}"')

    def story(self) -> str:
        """How it came to what `search` found broken, in the words of the model."""
        return self._run("spin", "-t", *self._constants, self._name)

    def printed(self) -> str:
        """What a model prints that has no choices."""
        self._build("-DSAFETY", "-DPRINTF")
        return self._run("./pan")

    def _build(self, *options: str) -> None:
        self._run("spin", "-a", *self._constants, self._name)
        # Compiling with -O2 takes longer than the search does without.
        self._run("gcc", "-O0", "-w", *options, "-o", "pan", "pan.c")

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self._directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise SpinError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise SpinError(f"no {pattern!r} in:\n{text}")
    return found[1]


def names(kind: str, *, file: str = "rules.pml") -> Sequence[str]:
    """The names of an mtype by the numbers that spin gives them: it counts from the last, and from one."""
    declared = _find(rf"mtype:{kind} = {{(.*)}}", (MODEL / file).read_text())
    return ["", *reversed(declared.replace(" ", "").split(","))]
