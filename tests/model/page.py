"""The tables of `docs/explanation/model.md`; ``python -m tests.model.page`` counts the states again and writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.model import spin
from tests.model.configurations import CONFIGURATIONS, Configuration
from tests.model.mutants import MUTANTS, PROMISES

PAGE = Path(__file__).parents[2] / "docs/explanation/model.md"


def states_of(configuration: Configuration) -> int:
    """The number of states that the page says this configuration has; 0 if it says none."""
    row = re.search(rf"^\| {re.escape(configuration.name)} \|.* \| ([\d,]+) \|$", PAGE.read_text(), re.MULTILINE)
    return int(row[1].replace(",", "")) if row else 0


def with_tables(text: str, states: Mapping[str, int]) -> str:
    """The page with its tables made anew."""
    tables = {"configurations": _configurations(states), "mutants": _mutants(), "promises": _promises()}
    for name, rows in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        text = before + begin + "\n".join(rows) + "\n" + end + rest.partition(end)[2]
    return text


def _promises() -> list[str]:
    return [f"* {promise}" for promise in PROMISES.values()]


def _configurations(states: Mapping[str, int]) -> list[str]:
    rows = [f"| {each.name} | {each.what} | {_constants(each)} | {states[each.name]:,} |" for each in CONFIGURATIONS]
    return ["| configuration | what may happen | constants | states |", "|---|---|---|---|", *rows]


def _constants(configuration: Configuration) -> str:
    return " ".join(f"`{name}={value}`" for name, value in configuration.special.items())


def _mutants() -> list[str]:
    rows = [f"| {each.name} | {PROMISES[each.breaks]} |" for each in MUTANTS]
    return ["| taken away | what no longer holds |", "|---|---|", *rows]


def _count(configuration: Configuration) -> int:
    with TemporaryDirectory() as directory:
        model = spin.Model("trellis.pml", configuration.constants, directory=Path(directory))
        search = model.search(is_live=configuration.is_live)
        assert not search.broken, f"{configuration.name}: {search.broken}\n{model.story()}"
        print(f"{configuration.name}: {search.states}", flush=True)
        return search.states


def main() -> None:
    states = {each.name: _count(each) for each in CONFIGURATIONS}
    PAGE.write_text(with_tables(PAGE.read_text(), states))


if __name__ == "__main__":
    main()
