"""`celery -A proj flower`: the tab "Processes" appears when the app that it is for has a `Trellis`.

Celery imports this module before it imports the user's app, and while it does that it already knows its command.
"""

from __future__ import annotations

import click

from trellis_celery import errors, flower
from trellis_celery.logs import EventLogger
from trellis_celery.plugin import extension
from trellis_celery.plugin.extension import Trellis

logger = EventLogger(__name__)


def show_in_flower(_trellis: Trellis) -> None:
    """Add the tab if this program is Flower. It starts without one rather than not at all."""
    context = click.get_current_context(silent=True)
    if context is None or context.invoked_subcommand != "flower":
        return
    try:
        flower.install()
    except errors.ConfigurationError as error:
        logger.warning("flower_tab_missing", extra={"error": str(error)})


extension.on_made.append(show_in_flower)
