"""`celery -A proj trellis …`: processes in the shell."""

from trellis_celery.cli.commands import trellis

__all__ = ["trellis"]
