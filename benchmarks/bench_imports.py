"""What does `import trellis_celery` cost a program that has a Celery app on Redis anyway?

Programs that import the one, and both, in turns, each on the same core: the time from the interpreter's start to the
end of the imports, all of them compiled before. Beside it, one that says no more than `import celery`, which by itself
loads next to nothing. And both without Python's collector of garbage, which goes through all that Celery has made when
enough has come to it: now, or in whatever the program does next.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

from benchmarks.harness import Figures, Size, answer
from benchmarks.turns import in_turns, one_core, spread

_SAY = "import sys, time; print(time.perf_counter() - began, len(sys.modules))"
_APP = "import celery; celery.Celery(broker='redis://localhost').connection().transport"
PROGRAMS = {
    "import celery": "import celery",
    "import celery and trellis": "import celery, trellis_celery",
    "an app": _APP,
    "an app and trellis": f"{_APP}; import trellis_celery",
    "an app, uncollected": f"import gc; gc.disable(); {_APP}",
    "an app and trellis, uncollected": f"import gc; gc.disable(); {_APP}; import trellis_celery",
}


def measure(*, rounds: int) -> Figures:
    modules: dict[str, int] = {}
    compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def run(name: str) -> float:
        code = f"import time; began = time.perf_counter(); {PROGRAMS[name]}; {_SAY}"
        said = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=compiled
        ).stdout
        taken_s, modules[name] = float(said.split()[0]), int(said.split()[1])
        return taken_s * 1000

    for name in PROGRAMS:
        run(name)
    with one_core():
        found = dict(zip(PROGRAMS, in_turns(*(partial(run, name) for name in PROGRAMS), rounds=rounds), strict=True))
    return {
        "ms": {name: spread(times, digits=1) for name, times in found.items()},
        "modules": modules,
        "beyond an app, ms": {
            name: _beyond(found[name], found[name.replace(" and trellis", "")])
            for name in ("an app and trellis", "an app and trellis, uncollected")
        },
        "beyond import celery, ms": _beyond(found["import celery and trellis"], found["import celery"]),
    }


def _beyond(both: list[float], one: list[float]) -> dict[str, float]:
    return spread([more - less for more, less in zip(both, one, strict=True)], digits=1)


if __name__ == "__main__":
    answer("imports", measure, rounds=Size(15, quick=3))
