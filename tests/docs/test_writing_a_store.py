"""The page about writing a store keeps its word: its store passes the contract, as a reader would run it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from trellis_celery.testing import CountingStoreContract

PAGE = Path(__file__).parents[2] / "docs/howto/writing-a-store.md"


def _files() -> dict[str, str]:
    """The page's programs by the file names that their first lines give."""
    programs = re.findall(r"^```py\n(# (\S+)\n.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return {name: program for program, name in programs}


def test_the_store_of_the_page_passes_the_contract(tmp_path: Path) -> None:
    files = _files()
    assert set(files) == {"our_store.py", "test_our_store.py", "conftest.py"}
    for name, program in files.items():
        (tmp_path / name).write_text(program)

    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:celery", "-p", "no:cacheprovider", "-W", "error"]
    done = subprocess.run(
        [*command, "test_our_store.py"], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=110
    )

    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout


def test_the_page_lists_what_a_test_class_may_say_with_its_default() -> None:
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (\S.*?) \|", PAGE.read_text(), re.MULTILINE)
    told = {
        name.strip("`"): default
        for names, defaults in rows
        for name, default in zip(names.split(", "), defaults.split(", "), strict=True)
    }

    expected = {
        name: f"`{value}`" if isinstance(value, bool) else f"{value:,}"
        for owner in CountingStoreContract.__mro__
        for name, value in vars(owner).items()
        if isinstance(value, int) and not name.startswith("_")
    }
    assert told == expected
