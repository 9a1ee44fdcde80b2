"""Set the stage, play, clear up: `python -m example_project.demo [redis://…]`."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path
from uuid import uuid4

from example_project.demo import server
from example_project.demo.children import Children
from example_project.demo.errors import DemoError, Interrupted
from example_project.demo.screen import open_screen
from example_project.demo.watch import Interruption, Watch

LIMIT_S = 55.0
INTERRUPTED = 130

INTRODUCTION = """\
A referral service: two workers, beat, and a server for messages and processes.
In the middle of their work one task's process is killed, one whole worker is
killed, and one task hangs until its time is up. Every step must still happen
exactly once.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m example_project.demo", description=__doc__)
    parser.add_argument("url", nargs="?", help="a Redis or Valkey server of your own; left out: an embedded one")
    url = parser.parse_args().url
    interruption = Interruption()
    print(INTRODUCTION, flush=True)
    try:
        _require_shared_memory()
        with tempfile.TemporaryDirectory(prefix="trellis-demo-") as directory:
            return _run(url, Path(directory), interruption)
    except Interrupted as interrupted:
        print(f"\n{interrupted}; nothing was left running")
        return INTERRUPTED
    except DemoError as error:
        print(f"\nThe demo could not go on: {error}", file=sys.stderr)
        return 1


def _run(url: str | None, directory: Path, interruption: Interruption) -> int:
    prefix = f"referrals-demo-{uuid4().hex[:8]}"
    children = Children(directory, os.environ)
    watch = Watch(children, interruption, limit_s=LIMIT_S)
    try:
        if url is None:
            url = server.start_embedded(children, watch)
            return _play(url, prefix, children, watch)
        server.require_answer(url)
        try:
            return _play(url, prefix, children, watch)
        finally:
            children.stop()
            server.delete_keys(url, prefix)
    finally:
        children.stop()


def _play(url: str, prefix: str, children: Children, watch: Watch) -> int:
    settings = {"CELERY_BROKER_URL": url, "TRELLIS_URL": url, "REFERRALS_DATABASE_URL": url, "REFERRALS_PREFIX": prefix}
    os.environ.update(settings)
    children.env.update(settings)
    # The service reads its settings when it is imported, so not before they are made.
    from example_project.demo import verdict  # noqa: PLC0415
    from example_project.demo.script import Script  # noqa: PLC0415

    with open_screen() as screen:
        script = Script(children, watch, screen)
        script.play()
    found = verdict.problems(script.processes)
    print(f"\n{verdict.summary(script.rows, found)}")
    return 1 if found else 0


def _require_shared_memory() -> None:
    """Raise DemoError where Celery's prefork pool cannot work."""
    try:
        multiprocessing.Lock()
    except (OSError, ImportError) as error:
        raise DemoError(
            f"Celery's worker processes need POSIX semaphores, and this machine gives none ({error}). On Linux they "
            "live in /dev/shm, which must be writable; in a container, mount it: --tmpfs /dev/shm."
        ) from error


if __name__ == "__main__":
    sys.exit(main())
