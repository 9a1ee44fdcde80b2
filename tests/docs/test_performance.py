"""The page about performance, and its pictures, are those of the last results; nothing here measures."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from benchmarks.page import PAGE, page
from benchmarks.pictures import PICTURES
from benchmarks.questions import ALONE, SECTIONS, TAKES_S, Question, asks, at_least, at_most, results

QUESTIONS = [question for questions in SECTIONS.values() for question in questions]
SHOWN = [name for name, picture in PICTURES.items() if picture.script in results()]


def test_the_page_is_made_of_the_last_results() -> None:
    assert PAGE.read_text() == page(), "python -m benchmarks --page"


@pytest.mark.parametrize("name", SHOWN)
def test_a_picture_shows_what_it_says_to_those_who_cannot_see_it(name: str) -> None:
    picture = PICTURES[name]
    svg = (PAGE.with_suffix("") / f"{name}.svg").read_text()

    words = dict(re.findall(r"<(title|desc) id=.*?>(.*?)</", svg))
    assert {tag: unescape(text) for tag, text in words.items()} == {
        "title": picture.title,
        "desc": picture.describe(results()[picture.script]),
    }, "python -m benchmarks --page"


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.asks)
def test_every_question_has_its_answer_in_the_result(question: Question) -> None:
    found = results().get(question.script)

    assert found is None or question.answer(found) is not None


def test_every_script_is_run_and_named_and_says_its_question() -> None:
    scripts = {path.stem.removeprefix("bench_") for path in Path("benchmarks").glob("bench_*.py")}
    readme = Path("benchmarks/README.md").read_text()

    assert scripts <= {*TAKES_S, *ALONE}
    assert [script for script in scripts if f"benchmarks.bench_{script}`" not in readme] == []
    assert [script for script in TAKES_S if not asks(script).endswith("?")] == []


def test_all_that_is_asked_in_turn_takes_about_ten_minutes() -> None:
    assert sum(TAKES_S.values()) < 11 * 60


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"of": {"median": 0.9, "q1": 0.8, "q3": 1.1}}, (0.9, "0.9 s (0.8–1.1)")),
        ({"of": {"median": 2, "all": [3, 1, 2]}}, (2, "2 s (1–3)")),
        ({"of": 1234}, (1234, "1,234 s")),
        ({}, None),
    ],
)
def test_an_answer_is_the_median_with_its_spread(found: Any, expected: Any) -> None:
    question = Question(asks="", beside="", script="", at=(-1,), unit="s")

    assert question.answer(found) == expected


def test_a_goal_is_met_by_what_is_as_good() -> None:
    assert at_least(0.9).is_met(0.9)
    assert not at_least(0.9).is_met(0.89)
    assert at_most(12).is_met(12)
    assert not at_most(12).is_met(12.1)


def test_the_readme_says_what_was_measured() -> None:
    readme, found = " ".join(Path("README.md").read_text().split()), results()
    to_plain, of_10_ms = (found["tasks"][run]["throughput_to_plain"] for run in ("no-op", "10 ms"))
    idle, recovery = found["sizes"]["idle check"]["to 10000"], found["recovery"]

    assert f"{to_plain['tracked']['median']} times as many as without trellis" in readme
    assert f"Celery's own events (`-E`) leave {to_plain['announced']['median']}" in readme
    assert f"10 ms {of_10_ms['tracked']['median']} times as many" in readme
    most = list(idle)[-1]
    assert f"takes as long with {int(most):,} live steps as with 10,000" in readme
    assert idle[most]["median"] < 1.05, "as long"
    assert found["losses"]["redis"]["steps"] == 100_000
    assert f"all are sent again within {found['losses']['redis']['all_after_s']} s" in readme
    assert f"after {recovery['another worker']['median']} s on another worker" in readme
    assert f"{recovery['the worker comes back']['median']} s if the same one comes back" in readme
