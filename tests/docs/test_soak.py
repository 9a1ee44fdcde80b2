"""The page of the soak, and what the README says of it, are those of the last ones."""

from __future__ import annotations

import json
from pathlib import Path

from tests.chaos.nemesis import WEIGHTS
from tests.chaos.page import BROKERS, PAGE, RESULTS, page


def test_the_page_is_made_of_the_last_soaks() -> None:
    assert PAGE.read_text() == page(), "python -m tests.chaos.page"


REPORTS = [json.loads((RESULTS / f"chaos-{broker}.json").read_text()) for broker in BROKERS]


def test_the_readme_has_their_sums() -> None:
    faults = sum(sum(report["faults"].values()) for report in REPORTS)
    steps = sum(report["steps"] for report in REPORTS)

    assert f"{faults} times in all: {steps} steps accepted" in Path("README.md").read_text()


def test_the_last_soaks_were_long_and_good() -> None:
    for report in REPORTS:
        assert report["seconds"] >= 600
        assert sum(report["faults"].values()) >= 200
        assert set(report["faults"]) == set(WEIGHTS), "every fault was among them"
        assert report["given_up"] > 0
        assert not any(report[field] for field in ("lost", "twice", "unproven", "too_many_attempts", "untracked"))
