"""The events that the package has logged."""

from __future__ import annotations

import logging

import pytest


def events(caplog: pytest.LogCaptureFixture, at_least: int = logging.NOTSET) -> list[str]:
    """Their names, in order."""
    return [
        vars(record)["event"] for record in caplog.records if "event" in vars(record) and record.levelno >= at_least
    ]
