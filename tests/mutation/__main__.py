"""Take each guard away, one at a time, and see some test go red: ``python -m tests.mutation``.

A suite that stays green without a guard proves nothing of it. With words, only mutants that have one in their name.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory

from tests.mutation.guards import EXPLAINED, guards
from tests.mutation.mutants import MUTANTS, ROOT, Mutant

#: The quickest first: the first that is red ends the trial.
RULES = ("tests/unit/domain",)
MODEL = ("tests/model/test_rules.py",)
SERVICES = ("tests/unit/services", "tests/contract/test_memory.py::TestMemoryStore", "tests/unit/plugin")
REDIS = (
    "tests/contract/test_redis.py::TestValkey",
    "tests/contract/test_redis_faults.py::TestLostReplies",
    "tests/contract/test_redis_faults.py::TestWrongTypes",
    "tests/contract/test_redis_faults.py::test_of_a_deleted_process_nothing_is_left_but_its_type_and_what_was_counted",
    "tests/contract/test_redis_trackers.py",
    "tests/contract/test_pairs.py::TestMemoryWithValkey",
    *("-k", "not thousand"),
)
STORIES = "tests/property/test_protocol.py::test_every_promise_holds_whatever_fails_over_"
SUITES_OF_RULES = (RULES, MODEL, SERVICES, (f"{STORIES}memory",))
RIGHTS = ("tests/faults/test_store_rights.py",)
SUITES_OF_SCRIPTS = (REDIS, RIGHTS, (f"{STORIES}redis",))

#: How many of them are known to turn some test red. A whole run writes it anew.
RESULTS = Path(__file__).parent / "results.json"

#: A suite that takes longer goes round in a circle.
MOST_SECONDS = 900


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.partition("\n")[0])
    parser.add_argument("words", nargs="*", help="only mutants with one of these in their name")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trials at a time (default: all cores)")
    given = parser.parse_args()
    chosen = [
        mutant
        for mutant in [*MUTANTS, *guards()]
        if not given.words or any(word in mutant.name for word in given.words)
    ]
    with TemporaryDirectory() as directory, ThreadPoolExecutor(given.jobs) as pool:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(given.jobs):
            trees.put(_copy(Path(directory, str(number))))
        _require_green(_copy(Path(directory, "unchanged")))
        survivors = []
        for number, (mutant, killer) in enumerate(pool.map(lambda each: _try(each, trees), chosen), 1):
            print(f"{number:4}/{len(chosen)}  {killer or 'SURVIVED':32}  {mutant.name}", flush=True)
            survivors += [] if killer else [mutant.name]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} killed; {len(EXPLAINED)} change nothing, and say why")
    if not given.words:
        killed = {"mutants": len(chosen), "killed": len(chosen) - len(survivors), "explained": len(EXPLAINED)}
        RESULTS.write_text(json.dumps({**killed, "survivors": survivors}, indent=1) + "\n")
    for name in survivors:
        print(f"survived: {name}")
    return bool(survivors)


def _copy(tree: Path) -> Path:
    for part in ("trellis_celery", "tests", "example_project"):
        shutil.copytree(ROOT.parent / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT.parent / "pyproject.toml", tree)
    return tree


def _require_green(tree: Path) -> None:
    for suite in {*SUITES_OF_RULES, *SUITES_OF_SCRIPTS}:
        output = _output_of_red(tree, suite)
        assert not output, f"red without any mutant:\n{output}"


def _try(mutant: Mutant, trees: SimpleQueue[Path]) -> tuple[Mutant, str]:
    """The first suite that is red; empty if none is."""
    tree = trees.get()
    path = tree / "trellis_celery" / mutant.path
    original = path.read_text()
    path.write_text(mutant.source)
    try:
        suites = SUITES_OF_SCRIPTS if path.suffix == ".lua" else SUITES_OF_RULES
        return mutant, next((suite[0] for suite in suites if _output_of_red(tree, suite)), "")
    finally:
        path.write_text(original)
        trees.put(tree)


def _output_of_red(tree: Path, suite: tuple[str, ...]) -> str:
    """What the suite says if it is red, or never comes to an end; empty if it is green."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "--tb=line",
        "-p",
        "no:cacheprovider",
        "--timeout=600",
        *suite,
    ]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "TRELLIS_PROPERTY_EXAMPLES": "80"}
    try:
        ended = subprocess.run(
            command, cwd=tree, env=env, capture_output=True, text=True, check=False, timeout=MOST_SECONDS
        )
    except subprocess.TimeoutExpired:
        return "it does not end"
    # 2: a module cannot be imported any more, which is red as well.
    assert ended.returncode in (0, 1, 2), ended.stdout + ended.stderr
    return ended.stdout if ended.returncode else ""


if __name__ == "__main__":
    sys.exit(main())
