"""What an examination comes to: findings, the worst first, and what could not be looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from trellis_celery.doctor.finding import Checks, Facts, Finding, Level, judge


class Report(Struct, frozen=True, kw_only=True):
    #: The worst first.
    findings: tuple[Finding, ...] = ()
    #: Check -> why it could not be made.
    unchecked: Mapping[str, str] = field(default_factory=dict)

    def of(self, level: Level) -> list[Finding]:
        return [finding for finding in self.findings if finding.level is level]

    def is_bad(self, *, strict: bool = False) -> bool:
        """Whether there is a problem; if `strict`, whether there is a warning."""
        return bool(self.of(Level.PROBLEM)) or (strict and bool(self.of(Level.WARNING)))


class Notes:
    """What the examination has come to so far."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []
        self._unchecked: dict[str, str] = {}

    def add(self, finding: Finding, *, check: str, about: str = "") -> None:
        self._findings.append(replace(finding, check=check, about=about))

    def judge(self, checks: Checks[Facts], facts: Facts, *, about: str = "") -> None:
        self._findings += judge(checks, facts, about=about)

    def leave_out(self, checks: Iterable[str], reason: str) -> None:
        """These could not be made. What was made of a check all the same, of another server, stays."""
        for check in checks:
            self._unchecked.setdefault(check, reason)

    def report(self) -> Report:
        worst_first = sorted(self._findings, key=lambda finding: -finding.level.weight)
        return Report(findings=tuple(worst_first), unchecked=dict(self._unchecked))
