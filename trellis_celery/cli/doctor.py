"""`doctor`: what could make trellis break its promises here, and what to do about it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict

import click

from trellis_celery.cli.blocks import Block, Cell, Line, Tone, line
from trellis_celery.cli.group import command, option
from trellis_celery.cli.output import Output
from trellis_celery.doctor import Finding, Level, Report, examine
from trellis_celery.plugin.extension import Trellis

#: Prose is not read well in longer lines.
_WIDEST = 100
_INDENT = "  "
_TONES = {Level.PROBLEM: Tone.BAD, Level.WARNING: Tone.WARNING, Level.NOTE: Tone.BUSY, Level.OK: Tone.GOOD}
_PLURALS = {Level.PROBLEM: "problems", Level.WARNING: "warnings", Level.NOTE: "notes"}


@command("doctor")
@option("--all", "with_all", is_flag=True, help="Tell of what is as it should be as well.")
@option("--strict", is_flag=True, help="Exit code 1 for warnings, too.")
def doctor(trellis: Trellis, output: Output, *, with_all: bool, strict: bool) -> None:
    """Look at store, broker, configuration, steps and workers, and say what to do about what is wrong.

    It writes nothing that lasts, and works with a store or a broker that is down. Exit code 1: there is a problem.
    """
    report = examine(trellis)
    if output.as_json:
        for finding in report.findings:
            output.data(asdict(finding))
        for check, reason in report.unchecked.items():
            output.data({"check": check, "level": "unchecked", "found": reason})
    else:
        output.page(list(_page(report, with_all=with_all, columns=_columns(output))))
    if report.is_bad(strict=strict):
        raise click.exceptions.Exit(1)


def _columns(output: Output) -> int | None:
    """Where to break lines; None in a pipe, where each sentence has a line of its own."""
    return min(output.width, _WIDEST) if output.is_terminal else None


def _page(report: Report, *, with_all: bool, columns: int | None) -> Iterator[Block]:
    """What matters comes first: the sum of it, then problems, then warnings."""
    yield _summary(report)
    for finding in report.findings:
        if finding.level is not Level.OK or with_all:
            yield from _finding(finding, columns)
    yield from _paragraph("Fine", [] if with_all else _names(report), columns)
    yield from _paragraph("Not checked", [f"{check} ({reason})" for check, reason in _reasons(report)], columns)


def _summary(report: Report) -> Line:
    cells = []
    for level, plural in _PLURALS.items():
        number = len(report.of(level))
        text = f"{number or 'no'} {plural if number != 1 else level.value}, "
        cells.append(Cell(text, _TONES[level] if number else Tone.DIM))
    fine = f"{len(report.of(Level.OK))} fine"
    unchecked = f", {len(report.unchecked)} not checked" if report.unchecked else ""
    return Line((*cells, Cell(fine + unchecked)))


def _finding(finding: Finding, columns: int | None) -> Iterator[Block]:
    about = f" ({finding.about})" if finding.about else ""
    yield line()
    yield Line((Cell(finding.level.upper(), _TONES[finding.level]), Cell(f" {finding.check}{about}", Tone.STRONG)))
    yield from _wrapped(finding.found, columns)
    yield from _wrapped(finding.why, columns, Tone.DIM)
    yield from _wrapped(finding.advice, columns, mark="→ ")


def _wrapped(text: str, columns: int | None, tone: Tone = Tone.PLAIN, *, mark: str = "") -> Iterator[Line]:
    first, others = _INDENT + mark, _INDENT + " " * len(mark)
    for number, part in enumerate(_broken(text, columns, len(first))):
        yield line(f"{others if number else first}{part}", tone)


def _broken(text: str, columns: int | None, indent: int) -> list[str]:
    if columns is None:
        return [text] if text else []
    return textwrap.wrap(text, max(20, columns - indent), break_long_words=False, break_on_hyphens=False)


def _paragraph(title: str, names: list[str], columns: int | None) -> Iterator[Block]:
    if names:
        yield line()
        yield line(title, Tone.STRONG)
        yield from _wrapped(", ".join(names), columns)


def _names(report: Report) -> list[str]:
    """Checks of which nothing worse is told."""
    worse = {finding.check for finding in report.findings if finding.level is not Level.OK}
    return list(dict.fromkeys(finding.check for finding in report.of(Level.OK) if finding.check not in worse))


def _reasons(report: Report) -> list[tuple[str, str]]:
    """The checks of each reason together."""
    by_reason: dict[str, list[str]] = {}
    for check, reason in report.unchecked.items():
        by_reason.setdefault(reason, []).append(check)
    return [(", ".join(checks), reason) for reason, checks in by_reason.items()]
