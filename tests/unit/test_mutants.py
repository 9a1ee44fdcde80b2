"""The mutants fit the source as it is: a run that takes an hour should not end at one that does not."""

from __future__ import annotations

from tests.mutation.guards import guards
from tests.mutation.mutants import MUTANTS, ROOT


def test_every_mutant_changes_what_it_says() -> None:
    found = [*MUTANTS, *guards()]

    assert {"domain/runs.py", "stores/redis/lua/commit.lua"} <= {each.path for each in found}
    for each in found:
        assert (ROOT / each.path).read_text().startswith(each.old, each.start), each.name
