"""What the package logs, readable beside a command's results. Celery configures logging for workers and beat only."""

from __future__ import annotations

import logging

from trellis_celery.cli.visible import visible

_PACKAGE = "trellis_celery"


def to_standard_error(level: int = logging.WARNING) -> None:
    """Print records of this level and above, unless the team's own program has decided where they go."""
    if is_configured():
        return
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    handler.setLevel(level)
    logging.getLogger(_PACKAGE).addHandler(handler)


def is_configured() -> bool:
    """Whether somebody has said where the package's records go."""
    return bool(logging.getLogger(_PACKAGE).handlers or logging.getLogger().handlers)


class _Formatter(logging.Formatter):
    """The message, and the error's last line: no traceback, which is for those who can mend it."""

    def format(self, record: logging.LogRecord) -> str:
        error = [] if not record.exc_info or record.exc_info[1] is None else [_last_line(record.exc_info[1])]
        return visible(" ".join((f"{record.levelname}:", record.getMessage(), *error)))


def _last_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
