"""What a check says: how bad it is, what was found, why it matters, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

Facts = TypeVar("Facts")


class Level(StrEnum):
    """How bad it is; the worst last."""

    #: As it should be.
    OK = "ok"
    #: Worth knowing, and right for many.
    NOTE = "note"
    #: A promise holds less far than people may think.
    WARNING = "warning"
    #: A promise is broken, or will be by the next restart.
    PROBLEM = "problem"

    @property
    def weight(self) -> int:
        """Greater is worse."""
        return list(Level).index(self)


class Finding(Struct, frozen=True, kw_only=True):
    """One answer of one check."""

    level: Level
    found: str
    #: Why anybody should care; empty if all is well.
    why: str = ""
    #: What to do about it; empty if there is nothing to do.
    advice: str = ""
    #: The name of the check.
    check: str = ""
    #: Which of several servers it is about, if there are several.
    about: str = ""


#: By name: functions of facts that were gathered before. One that has nothing to say about them says nothing.
Checks = Mapping[str, Callable[[Facts], Iterable[Finding]]]


def ok(found: str) -> Finding:
    return Finding(level=Level.OK, found=found)


def note(found: str, *, why: str = "", advice: str = "") -> Finding:
    return Finding(level=Level.NOTE, found=found, why=why, advice=advice)


def warning(found: str, *, why: str, advice: str) -> Finding:
    return Finding(level=Level.WARNING, found=found, why=why, advice=advice)


def problem(found: str, *, why: str, advice: str) -> Finding:
    return Finding(level=Level.PROBLEM, found=found, why=why, advice=advice)


def judge(checks: Checks[Facts], facts: Facts, *, about: str = "") -> list[Finding]:
    """All that the checks say about the facts."""
    return [replace(finding, check=name, about=about) for name, check in checks.items() for finding in check(facts)]
