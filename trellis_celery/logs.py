"""Log records with an event's name first and its facts behind it.

The facts are in the message, because Celery's log format prints nothing else, and in `extra` besides, with the name as
`event`, for handlers that write JSON. They are arguments of the message, so tools that group records by their message
(Sentry) keep those of one event together.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any


class EventLogger(logging.LoggerAdapter[logging.Logger]):
    """The logger of a module: `logger.warning("write_kept", extra={"process_id": …})`."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name))

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Write a record of the event `msg`; every other method of a logger ends here."""
        if not self.logger.isEnabledFor(level):
            return
        facts: Mapping[str, object] = kwargs.pop("extra", None) or {}
        event = str(msg)
        template = " ".join((event, *(f"{name}=%s" for name in facts)))
        stacklevel = kwargs.pop("stacklevel", 1) + 1  # whoever called us wrote it
        self.logger.log(
            level,
            template,
            *map(_shown, facts.values()),
            *args,
            extra={**facts, "event": event},
            stacklevel=stacklevel,
            **kwargs,
        )


def _shown(fact: object) -> str:
    """As it is if it is one word, else quoted: nothing from outside can look like a fact or a line of the log."""
    text = "-" if fact is None else str(fact)
    return text if text.isprintable() and text and " " not in text else repr(text)
