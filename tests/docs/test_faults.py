"""The table of faults: a row is proven by tests that are there and passed, or says why it is not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.faults import page
from tests.faults.catalogue import CATALOGUE
from tests.faults.plugin import RESULTS


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, str]]:
    read: Any = json.loads(RESULTS.read_text())
    return dict(read)


def test_the_page_is_made_of_the_catalogue_and_the_results() -> None:
    assert page.PAGE.read_text() == page.page(), "python -m tests.faults.page"


@pytest.mark.parametrize("fault", CATALOGUE)
def test_a_row_has_passed_or_says_why_it_cannot_be_run(fault: str, results: dict[str, dict[str, str]]) -> None:
    outcomes = set(results.get(fault, {}).values())

    assert outcomes == ({"passed"} if not CATALOGUE[fault].not_run else set())


def test_every_test_that_is_named_is_there_and_marked(results: dict[str, dict[str, str]]) -> None:
    for fault, tests in results.items():
        for test in tests:
            path, *_, name = test.split("::")
            source = Path(path).read_text()
            assert re.search(rf"def {name}\b", source), test
            assert f'"{fault}"' in source, test
