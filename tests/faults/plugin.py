"""Tests by the rows of the fault catalogue that they prove: to choose them, and to write down how they went."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.catalogue import CATALOGUE

RESULTS = Path(__file__).parent / "results.json"
PROPERTY = "faults"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults", "the fault catalogue")
    group.addoption("--fault", action="append", metavar="ID", help="only tests of this row of the catalogue, like W3")
    group.addoption("--faults", action="store_true", help="only tests of the catalogue; keep their results")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(*ids): the rows of tests/faults/catalogue.py that the test proves")
    # Those who run the tests in parallel see no reports themselves: their controller does.
    if config.getoption("--faults") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Results(), "fault-results")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        faults = list(_faults_of(item))
        if unknown := [each for each in faults if each not in CATALOGUE]:
            raise pytest.UsageError(f"{item.nodeid}: no row of the fault catalogue: {', '.join(unknown)}")
        if faults:
            item.user_properties.append((PROPERTY, faults))
    wanted = set(config.getoption("--fault") or (CATALOGUE if config.getoption("--faults") else ()))
    if wanted:
        chosen = [item for item in items if wanted & set(_faults_of(item))]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen


def _faults_of(item: pytest.Item) -> Iterator[str]:
    for mark in item.iter_markers("fault"):
        yield from mark.args


class _Results:
    """How each test went, kept by row: ``{"W3": {"tests/…::test_…": "passed"}}``."""

    def __init__(self) -> None:
        self._by_row: dict[str, dict[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            properties: dict[str, Any] = dict(report.user_properties)
            test = report.nodeid.partition("[")[0]
            for fault in properties.get(PROPERTY, ()):
                results = self._by_row.setdefault(fault, {})
                results[test] = max(results.get(test, "passed"), report.outcome, key=_OUTCOMES.index)

    def pytest_sessionfinish(self) -> None:
        by_row = {row: dict(sorted(self._by_row[row].items())) for row in CATALOGUE if row in self._by_row}
        RESULTS.write_text(json.dumps(by_row, indent=1) + "\n")


_OUTCOMES = ("passed", "skipped", "failed")
