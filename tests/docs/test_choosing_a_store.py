"""The URLs on the page about stores lead to stores, and its figures are those of the last run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks.dynamodb import stored_bytes
from trellis_celery import errors
from trellis_celery.bootstrap import open_store
from trellis_celery.settings import Settings

PAGE = Path(__file__).parents[2] / "docs/howto/choosing-a-store.md"
RESULTS = Path(__file__).parents[2] / "benchmarks/results/stores.json"
MOTO = "DynamoDB (moto)"
#: A cluster is asked for its nodes at once, and there is none.
CONNECTS_AT_ONCE = "+cluster"


def _urls() -> list[str]:
    table = PAGE.read_text().partition("| install |")[2].partition("\n\n")[0]
    return [url for url in re.findall(r"`([a-z+]+://[^`…]*)`", table) if CONNECTS_AT_ONCE not in url]


@pytest.mark.parametrize("url", _urls())
def test_a_url_of_the_page_opens_a_store(url: str) -> None:
    assert open_store(Settings(url=url, transport_options={"master_name": "main"})) is not None


def test_the_pair_of_the_page_opens_a_store() -> None:
    (url, tracker_url) = re.findall(r'trellis_(?:tracker_)?url = "(.*?)"', PAGE.read_text())

    assert open_store(Settings(url=url, tracker_url=tracker_url)) is not None


def test_the_page_has_a_url_for_each_kind_of_store() -> None:
    with pytest.raises(errors.ConfigurationError) as raised:
        open_store(Settings(url="unknown://"))

    known = re.findall(r"([a-z]+)://", str(raised.value))
    assert [kind for kind in known if not re.search(rf"`{kind}(\+\w+)?://", PAGE.read_text())] == []


# Figures


def test_the_table_of_the_page_is_what_was_measured() -> None:
    figures, rows = _figures(), _rows("")
    counted = {name for name in figures[MOTO] if name.startswith("due")}
    figures[MOTO] = {name: figure for name, figure in figures[MOTO].items() if name not in counted}

    assert rows.pop("") == list(figures)
    assert rows.keys() == {name for of_store in figures.values() for name in of_store}
    assert rows == {name: [_cell(of_store.get(name)) for of_store in figures.values()] for name in rows}


def test_the_table_of_dynamodb_is_what_was_counted() -> None:
    figures, rows = _figures()[MOTO], _rows("a look for what is due")
    columns = rows.pop("a look for what is due")

    assert len(rows) == 4
    assert rows == {name: [_cell(figures.get(f"due, {name}, {column}")) for column in columns] for name in rows}


def test_how_often_dynamodb_is_asked_does_not_depend_on_how_many_steps_live() -> None:
    figures = _figures()[MOTO]

    assert {figure for name, figure in figures.items() if name.endswith("requests")} == {32}
    assert all(figure <= 16 * 500 for name, figure in figures.items() if name.endswith("entries read"))


def test_the_bytes_of_dynamodb_are_counted_by_the_rules_of_aws() -> None:
    item = {
        "pk": {"S": "id"},  # 2 + 2
        "sk": {"S": "schön"},  # 2 + 6
        "due": {"S": "0"},  # 3 + 1
        "due_ms": {"N": "1700000000000"},  # 6 + 1, and 1 for two digits: trailing zeroes do not count
        "record": {"B": b"12345"},  # 6 + 5
        "events": {"L": [{"B": b"1"}, {"B": b"22"}]},  # 6 + 3, and 1 + 1, 1 + 2
        "name": {"S": "ship"},  # 4 + 4
    }
    due = {
        "KeySchema": [{"AttributeName": "due"}, {"AttributeName": "due_ms"}],
        "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["name"]},
    }
    lease = {
        "KeySchema": [{"AttributeName": "lease"}, {"AttributeName": "lease_ms"}],
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    }

    assert stored_bytes(item) == 100 + (4 + 8 + 4 + 8 + 11 + 14 + 8)
    assert stored_bytes(item, [due, lease]) == stored_bytes(item) + 100 + (4 + 8 + 4 + 8 + 8)


def _figures() -> dict[str, dict[str, float]]:
    return {name: figures for name, figures in json.loads(RESULTS.read_text()).items() if isinstance(figures, dict)}


def _rows(corner: str) -> dict[str, list[str]]:
    """The table that has this cell in its corner: the cells of each line by the first of them."""
    begin = f"| {corner} |".replace("  ", " ")
    (table,) = [part for part in PAGE.read_text().split("\n\n") if part.startswith(begin)]
    lines = [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()]
    return {name: cells for name, *cells in lines if not name.startswith("---")}


def _cell(figure: float | None) -> str:
    return "–" if figure is None else f"{figure:,}"
