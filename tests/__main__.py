"""Run all tests: ``python -m tests``, with options for pytest.

There are two kinds, and they run side by side. Those of the first watch real programs and the time; they mostly wait,
and there are no more of them at once than the smallest machine has cores. Those of the second need the processor and no
clock; they get what the first leave, at the lowest priority. What they print comes when the first are done.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

AGAINST_TIME = ("cluster", "integration", "faults", "chaos", "flower")
BY_THE_PROCESSOR = ("unit", "contract", "property", "model", "docs")


def main(options: list[str]) -> int:
    with tempfile.TemporaryFile() as output:
        second = subprocess.Popen(
            ["nice", "-n", "19", *_pytest("auto", BY_THE_PROCESSOR, ["--timeout", "900", *options])],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            first = subprocess.call(_pytest("2", AGAINST_TIME, ["--dist", "loadfile", *options]))
            if second.poll() is None:
                print("\nNow the others, of which some are done.", flush=True)
            status = second.wait()
        except KeyboardInterrupt:
            second.terminate()
            raise
        output.seek(0)
        sys.stdout.flush()
        os.write(sys.stdout.fileno(), output.read())
    return first or status


def _pytest(jobs: str, directories: tuple[str, ...], options: list[str]) -> list[str]:
    return [sys.executable, "-m", "pytest", "-n", jobs, *options, *(f"tests/{name}" for name in directories)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
