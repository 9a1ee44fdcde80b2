"""Spin looks at every state of the model: nothing that is promised is broken, and nothing is stuck.

Where a promise is broken, the test tells the story that leads there.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model import page, spin
from tests.model.configurations import BUDGETS, CONFIGURATIONS, Configuration
from tests.model.mutants import MUTANTS, PROMISES, Mutant


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda each: each.name)
def test_every_state_keeps_every_promise(configuration: Configuration, tmp_path: Path) -> None:
    model = spin.Model("trellis.pml", configuration.constants, directory=tmp_path)

    search = model.search(is_live=configuration.is_live)

    assert not search.broken, f"{search.broken}\n{model.story()}"
    assert page.states_of(configuration) == search.states, f"python -m tests.model.page, if {search.states} is right"
    for fault in BUDGETS & configuration.special.keys():
        happens = f"{fault.lower()} = ({fault.lower()}-1)"
        assert search.unreached.count(happens) < model.places(happens), f"no {fault} ever happens"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: each.name)
def test_without_a_guard_a_promise_is_broken(mutant: Mutant, tmp_path: Path) -> None:
    model = spin.Model("trellis.pml", mutant.constants, directory=tmp_path, change=mutant.change)

    search = model.search(is_live=mutant.is_live)

    assert search.broken.startswith("acceptance cycle" if mutant.is_live else "assertion violated"), search


def test_some_guard_stands_behind_every_promise() -> None:
    assert {mutant.breaks for mutant in MUTANTS} == PROMISES.keys()


def test_a_search_that_could_not_see_everything_is_an_error(tmp_path: Path) -> None:
    model = spin.Model("trellis.pml", CONFIGURATIONS[0].constants, directory=tmp_path)

    with pytest.raises(spin.SpinError, match="max search depth too small"):
        model.search(depth=100)


def test_the_page_shows_what_was_looked_at_and_what_was_taken_away() -> None:
    shown = page.PAGE.read_text()

    assert page.with_tables(shown, {each.name: page.states_of(each) for each in CONFIGURATIONS}) == shown
