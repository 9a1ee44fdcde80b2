"""The page about `doctor` says what there is."""

from __future__ import annotations

import re
from pathlib import Path

from trellis_celery.doctor import CHECKS, Level
from trellis_celery.doctor.asking.redis_rights import COMMANDS

PAGE = (Path(__file__).parents[2] / "docs/reference/doctor.md").read_text()


def test_the_page_lists_every_check_once_and_in_order() -> None:
    _, _, checks = PAGE.partition("## The checks")

    assert re.findall(r"^\| `([a-z-]+)` \|", checks, re.MULTILINE) == list(CHECKS)


def test_the_page_lists_every_level_the_worst_first() -> None:
    _, _, levels = PAGE.partition("| level | means |")

    worst_first = sorted(Level, key=lambda level: -level.weight)
    assert re.findall(r"^\| `([a-z]+)` \|", levels.partition("\n\n")[0], re.MULTILINE) == [*worst_first]


def test_the_rights_on_the_page_are_those_of_the_commands_that_are_used() -> None:
    (rights,) = re.findall(r"```text\n(ACL SETUSER .*?)```", PAGE, re.DOTALL)

    permitted = set(re.findall(r"\+([a-z|]+)", rights))
    assert permitted - {"select"} == {name.lower().replace(" ", "|") for name in COMMANDS}
