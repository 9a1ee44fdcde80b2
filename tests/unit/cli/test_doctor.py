"""How an examination reads."""

from __future__ import annotations

from trellis_celery.cli import text
from trellis_celery.cli.doctor import _named, _page
from trellis_celery.doctor import Finding, Level, Report

BAD = Finding(level=Level.PROBLEM, check="a-check", about="broker", found="bad", why="it breaks", advice="mend it")
FINE = Finding(level=Level.OK, check="b-check", found="good")


def page(report: Report, *, with_all: bool = False, columns: int | None = None) -> list[str]:
    return text.page(list(_page(report, with_all=with_all, columns=columns))).splitlines()


def test_the_sum_comes_first_and_then_the_problem_with_what_to_do() -> None:
    assert page(Report(findings=(BAD, FINE))) == [
        "1 problem, no warnings, no notes, 1 fine (--all shows them)",
        "",
        "PROBLEM a-check (broker)",
        "  bad",
        "  it breaks",
        "  → mend it",
    ]


def test_what_is_fine_is_told_when_all_is_asked_for() -> None:
    assert page(Report(findings=(FINE,)), with_all=True) == [
        "no problems, no warnings, no notes, 1 fine",
        "",
        "OK b-check",
        "  good",
    ]


def test_checks_that_could_not_be_made_stand_at_their_common_reason() -> None:
    report = Report(unchecked={"a": "it is down", "b": "it is forbidden", "c": "it is down"})

    assert page(report)[1:] == ["", "NOT CHECKED it is down", "  a, c", "", "NOT CHECKED it is forbidden", "  b"]


def test_on_a_terminal_lines_end_between_words_and_go_on_below_their_beginning() -> None:
    long = Finding(
        level=Level.NOTE, check="a-check", found="one two three four five six", advice="six seven eight nine ten"
    )

    assert page(Report(findings=(long,)), columns=26)[3:] == [
        "  one two three four five",
        "  six",
        "  → six seven eight nine",
        "    ten",
    ]


def test_names_from_outside_cannot_drive_the_terminal() -> None:
    hostile = Finding(level=Level.NOTE, check="a-check", found="worker \x1b]52;c;x\x07 and \u202eesrever")

    assert page(Report(findings=(hostile,)))[3] == "  worker ?]52;c;x? and ?esrever"


def test_the_commands_to_type_name_the_app() -> None:
    told = Finding(level=Level.NOTE, check="a-check", found="no worker", advice="celery -A … worker")

    report = _named(Report(findings=(told,)), "celery -A shop trellis")

    assert report.findings[0].advice == "celery -A shop worker"
