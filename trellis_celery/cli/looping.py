"""`--loop`: a pass again and again, for containers where nothing else makes them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

from trellis_celery import errors
from trellis_celery.cli.output import Output


def repeat(output: Output, interval_s: float, make_pass: Callable[[], None], *, doing: str) -> None:
    """Make a pass every so often until SIGINT or SIGTERM. A store that is away is told of once, and asked again."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    output.say(f"{doing} every {interval_s:g} s until SIGINT or SIGTERM.")
    is_away = False
    while not stopped.is_set():
        try:
            make_pass()
        except (errors.StoreUnavailable, errors.SchemaOutdated) as error:
            if not is_away:
                output.say(f"Error: {error}. Trying again every {interval_s:g} s.")
            is_away = True
        else:
            if is_away:
                output.say("The store answers again.")
            is_away = False
        stopped.wait(interval_s)
