"""Ask all questions that are answered in about ten minutes, and write the page of the answers.

A question that fails does not keep the others from being asked; the command then ends with status 1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from benchmarks.drawing import draw_all
from benchmarks.harness import ROOT
from benchmarks.page import PAGE, page
from benchmarks.questions import ALONE, TAKES_S, asks, results


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="say what is asked, and stop")
    parser.add_argument("--only", nargs="+", choices=TAKES_S, metavar="QUESTION", help="ask only these")
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it runs, not what it costs")
    parser.add_argument("--page", action="store_true", help="ask nothing: make the page of what was measured last")
    given = parser.parse_args()
    if given.list:
        _list()
        return 0
    failed = [] if given.page else _ask(given.only or list(TAKES_S), is_quick=given.quick)
    PAGE.write_text(page())
    drawn = draw_all(results())
    print(f"written: {PAGE.relative_to(ROOT)} and {len(drawn)} pictures")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _list() -> None:
    for name, takes_s in TAKES_S.items():
        print(f"{name:12}{takes_s:4} s  {asks(name)}")
    for name in ALONE:
        print(f"{name:12}alone   {asks(name)}")


def _ask(names: list[str], *, is_quick: bool) -> list[str]:
    """The names of those that failed."""
    failed = []
    for place, name in enumerate(names, 1):
        about = "" if is_quick else f" (about {TAKES_S[name]} s)"
        print(f"[{place}/{len(names)}] {name}{about}: {asks(name)}", flush=True)
        began_s = time.monotonic()
        command = [sys.executable, "-m", f"benchmarks.bench_{name}", *(["--quick"] if is_quick else [])]
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        print(f"[{place}/{len(names)}] {name}: {time.monotonic() - began_s:.0f} s", flush=True)
        if status:
            failed.append(name)
    return failed


if __name__ == "__main__":
    sys.exit(main())
