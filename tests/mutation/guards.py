"""Every guard of the rules and of the scripts, taken away: found in the source, so that a new one is not forgotten."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.mutation.mutants import ROOT, Mutant

RULES = ("by_hand", "definitions", "identity", "outcomes", "process", "runs", "step", "timeouts", "transitions")
SCRIPTS = ("commit", "copied", "create", "delete", "move", "relayed", "tracker", "untrack")

_LUA_IF = re.compile(r"^ *(?:else)?if (?P<condition>.+?) then$", re.MULTILINE | re.DOTALL)

#: Guards that change nothing when they are gone, and why. By file and condition.
EXPLAINED: dict[str, str] = {}


def guards() -> list[Mutant]:
    """Those that have to turn some test red."""
    found = [*_of_rules(), *_of_scripts()]
    assert EXPLAINED.keys() <= {_without_line(each) for each in found}, "an explanation of a guard that is not there"
    return [each for each in found if _without_line(each) not in EXPLAINED]


def _without_line(mutant: Mutant) -> str:
    return re.sub(r":\d+ ", " ", mutant.name, count=1)


def _of_rules() -> Iterator[Mutant]:
    for name in RULES:
        path = f"domain/{name}.py"
        text = (ROOT / path).read_text()
        lines = [0, *(match.end() for match in re.finditer("\n", text))]
        for node in ast.walk(ast.parse(text)):
            for condition, neutral in _conditions(node):
                start = lines[condition.lineno - 1] + _characters(text, lines, condition)
                old = ast.get_source_segment(text, condition) or ""
                yield Mutant(f"{path}:{condition.lineno} {_short(old)}", path, start, old, neutral)


def _conditions(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """What is asked, and what stands for not asking: a branch is not taken, a part of a condition decides nothing."""
    if isinstance(node, ast.If | ast.IfExp):
        yield node.test, "False"
    if isinstance(node, ast.BoolOp):
        neutral = "True" if isinstance(node.op, ast.And) else "False"
        for part in node.values:
            if not isinstance(part, ast.Constant):
                yield part, neutral


def _characters(text: str, lines: list[int], node: ast.expr) -> int:
    """`ast` counts the bytes of a line."""
    line = text[lines[node.lineno - 1] :].partition("\n")[0]
    return len(line.encode()[: node.col_offset].decode())


def _of_scripts() -> Iterator[Mutant]:
    for name in SCRIPTS:
        path = f"stores/redis/lua/{name}.lua"
        text = (ROOT / path).read_text()
        for match in _LUA_IF.finditer(text):
            line, condition = text.count("\n", 0, match.start()) + 1, match["condition"]
            yield Mutant(f"{path}:{line} {_short(condition)}", path, match.start("condition"), condition, "false")


def _short(text: str) -> str:
    """On one line. Two guards of the same words on one line are told apart by nobody, and need not be."""
    return " ".join(text.split())[:70]
