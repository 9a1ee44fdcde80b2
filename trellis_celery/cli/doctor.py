"""`doctor`: what could make trellis break its promises here, and what to do about it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import click
from msgspec.structs import asdict, replace

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
    report = _named(examine(trellis), output.command_line)
    if output.as_json:
        for finding in report.findings:
            output.data(asdict(finding))
        for check, reason in report.unchecked.items():
            output.data({"check": check, "level": "unchecked", "found": reason})
    else:
        page = list(_page(report, with_all=with_all, columns=_columns(output)))
        is_scrolled = output.is_terminal and len(page) >= output.height
        output.page([*page, line(), _summary(report, with_all=with_all)] if is_scrolled else page)
    if report.is_bad(strict=strict):
        raise click.exceptions.Exit(1)


def _named(report: Report, command_line: str) -> Report:
    """With the name of this app in the commands to type."""
    celery = command_line.removesuffix(" trellis")
    findings = (replace(one, advice=one.advice.replace("celery -A …", celery)) for one in report.findings)
    return replace(report, findings=tuple(findings))


def _columns(output: Output) -> int | None:
    """Where to break lines; None in a pipe, where each sentence has a line of its own."""
    return min(output.width, _WIDEST) if output.is_terminal else None


def _page(report: Report, *, with_all: bool, columns: int | None) -> Iterator[Block]:
    """What matters comes first: the sum of it, then problems, then warnings."""
    yield _summary(report, with_all=with_all)
    for finding in report.findings:
        if finding.level is not Level.OK or with_all:
            yield from _finding(finding, columns)
    yield from _unchecked(report, columns)


def _summary(report: Report, *, with_all: bool) -> Line:
    cells = []
    for level, plural in _PLURALS.items():
        number = len(report.of(level))
        text = f"{number or 'no'} {plural if number != 1 else level.value}, "
        cells.append(Cell(text, _TONES[level] if number else Tone.DIM))
    unchecked = f", {len(report.unchecked)} not checked" if report.unchecked else ""
    hint = "" if with_all else " (--all shows them)"
    return Line((*cells, Cell(f"{len(report.of(Level.OK))} fine{hint}{unchecked}")))


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


def _unchecked(report: Report, columns: int | None) -> Iterator[Block]:
    """The checks of each reason together."""
    by_reason: dict[str, list[str]] = {}
    for check, reason in report.unchecked.items():
        by_reason.setdefault(reason, []).append(check)
    for reason, checks in by_reason.items():
        yield line()
        yield Line((Cell("NOT CHECKED", Tone.DIM), Cell(f" {reason}", Tone.STRONG)))
        yield from _wrapped(", ".join(checks), columns)
