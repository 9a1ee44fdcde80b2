"""The session on the page of the shell happens as it is printed there, character by character; only ids differ."""

from __future__ import annotations

import inspect
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from celery.bin.celery import celery
from click.testing import CliRunner

from tests.docs.shell_scene import START_MS, Scene, play
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.testing import ManualClock

PAGE = (Path(__file__).parents[2] / "docs/reference/shell.md").read_text()
IN_MEMORY = {"redis://localhost:6379/0": "memory://", "Trellis(app)": "Trellis(app, store=store)"}
PROCESS_ID = re.compile(r"\b[0-9a-f]-[0-9a-f]{32}\b")
TASK_ID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")

_SEPARATE = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


class Exchange(NamedTuple):
    """What is typed, and what the page says comes of it."""

    command: str
    printed: str


def session() -> list[Exchange]:
    blocks = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    typed = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [Exchange(*part.split("\n", 1)) for part in typed]


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The page's program, over a store in memory."""
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    for written, instead in IN_MEMORY.items():
        assert written in program
        program = program.replace(written, instead)
    clock = ManualClock(START_MS)
    module = ModuleType("shop")
    vars(module).update(store=MemoryStore(clock=clock), clock=clock)
    monkeypatch.setitem(sys.modules, "shop", module)
    exec(compile(program, "shop.py", "exec"), vars(module))
    yield module
    module.app.close()


def test_what_is_typed_on_the_page_prints_what_the_page_says(shop: ModuleType) -> None:
    ids = play(Scene(shop, shop.clock))
    (id_on_the_page,) = re.findall(rf"^\$ .* trellis show ({PROCESS_ID.pattern})$", PAGE, re.MULTILINE)
    for command, printed in session():
        words = shlex.split(command.replace(id_on_the_page, ids["cart-1017"]))
        assert words[:1] == ["celery"]
        result = CliRunner(**_SEPARATE).invoke(celery, words[1:], auto_envvar_prefix="CELERY")

        assert _anonymous(result.stdout + result.stderr) == _anonymous(printed), command


def test_the_session_shows_the_commands_that_people_need_first() -> None:
    typed = {exchange.command.split()[4] for exchange in session()}

    assert typed >= {"list", "show", "incidents", "retry", "complete", "stats", "graph"}


def _anonymous(text: str) -> str:
    lines = [line.rstrip() for line in TASK_ID.sub("TASK", PROCESS_ID.sub("PROCESS", text)).splitlines()]
    return "\n".join(lines).strip()
