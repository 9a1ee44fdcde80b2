"""The mutants fit the source as it is: a run that takes an hour should not end at one that does not."""

from __future__ import annotations

import importlib

from tests.mutation.guards import RULES, SCRIPTS, guards


def test_every_mutant_by_hand_is_made_from_a_place_that_is_there() -> None:
    assert importlib.import_module("tests.mutation.mutants").MUTANTS


def test_guards_are_found_in_the_rules_and_in_the_scripts() -> None:
    paths = {each.path for each in guards()}

    assert {"domain/runs.py", "stores/redis/lua/commit.lua"} <= paths
    assert paths <= {f"domain/{name}.py" for name in RULES} | {f"stores/redis/lua/{name}.lua" for name in SCRIPTS}
