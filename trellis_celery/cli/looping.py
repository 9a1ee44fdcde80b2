"""`--loop`: a pass again and again, for containers where nothing else makes them."""

from __future__ import annotations

import signal
from collections.abc import Callable

from trellis_celery import errors
from trellis_celery.cli.ending import ending_by
from trellis_celery.cli.output import Output


def repeat(output: Output, interval_s: float, make_pass: Callable[[], None], *, doing: str) -> None:
    """Make a pass every so often until SIGINT or SIGTERM. A store that is away is told of once, and asked again."""
    with ending_by(signal.SIGINT, signal.SIGTERM) as ending:
        output.say(f"{doing} every {interval_s:g} s until SIGINT or SIGTERM.")
        is_away = _pass(output, interval_s, make_pass, was_away=False)
        while not ending.comes_within(interval_s):
            is_away = _pass(output, interval_s, make_pass, was_away=is_away)


def _pass(output: Output, interval_s: float, make_pass: Callable[[], None], *, was_away: bool) -> bool:
    """Whether the store is away."""
    try:
        make_pass()
    except (errors.StoreUnavailable, errors.SchemaOutdated) as error:
        if not was_away:
            output.say(f"Error: {error}. Trying again every {interval_s:g} s.")
        return True
    if was_away:
        output.say("The store answers again.")
    return False
