"""Make `docs/explanation/faults.md` of the catalogue and of how its tests went: ``python -m tests.faults.page``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.faults.catalogue import CATALOGUE, FAMILIES, Row
from tests.faults.plugin import RESULTS

#: Written by `tests.mutation`.
MUTATION = Path("tests/mutation/results.json")

PAGE = Path("docs/explanation/faults.md")

_TOP = """# What can go wrong, and what holds

Each row is a fault that is provoked on purpose, on real servers and with real workers where they have a part in it,
and what must hold then. The tests are named beside it; `pytest --fault W3` runs those of one row, `make faults` all of
them, and makes this page.

{totals}

Would the tests notice if a rule were gone? `make mutation` takes each guard of the rules and of the scripts in Redis
away, one at a time: {mutation} have been seen to turn some test red.
"""
_HEAD = ("| | fault | what holds | tests | last run |", "|---|---|---|---|---|")


def page() -> str:
    results: dict[str, dict[str, str]] = json.loads(RESULTS.read_text())
    parts = []
    for family, rows in FAMILIES.items():
        lines = [_line(fault, row, results.get(fault, {})) for fault, row in rows.items()]
        parts.append("\n".join([f"## {family}\n", *_HEAD, *lines]))
    return "\n\n".join([_TOP.format(totals=_totals(results), mutation=_mutation()).rstrip(), *parts]) + "\n"


def _totals(results: dict[str, dict[str, str]]) -> str:
    ways = [_last_run(results.get(fault, {})) for fault in CATALOGUE]
    tests = {test for row in results.values() for test in row}
    passed, not_run = ways.count("passed"), ways.count("–")
    return (
        f"**{len(CATALOGUE)} rows: {passed} passed, {len(ways) - passed - not_run} did not, "
        f"{not_run} cannot be run and say why. {len(tests)} tests.**"
    )


def _mutation() -> str:
    run: dict[str, Any] = json.loads(MUTATION.read_text())
    return f"{run['killed']} of {run['mutants']}"


def _line(fault: str, row: Row, results: dict[str, str]) -> str:
    tests = "<br>".join(_link(test) for test in results) or row.not_run
    return f"| {fault} | {row.fault} | {row.holds} | {tests} | {_last_run(results)} |"


def _link(test: str) -> str:
    path, _, name = test.partition("::")
    return f"[{name.replace('::', ' ').removeprefix('test_').replace('_', ' ')}](../../{path})"


def _last_run(results: dict[str, str]) -> str:
    outcomes = set(results.values())
    return next((each for each in ("failed", "passed", "skipped") if each in outcomes), "–")


def main() -> None:
    PAGE.write_text(page())
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
