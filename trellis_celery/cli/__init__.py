"""`celery -A proj trellis …`: processes in the shell.

A module for each kind of command; `group` says how one is written.
"""

from trellis_celery.cli import (  # noqa: F401 - each adds its commands to the group
    checking,
    counting,
    doctor,
    exporter,
    flower_tab,
    graphing,
    incidents,
    listing,
    maintenance,
    operating,
    relaying,
    showing,
    watching,
)
from trellis_celery.cli.group import trellis

__all__ = ["trellis"]
