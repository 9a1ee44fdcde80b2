from __future__ import annotations

import logging

import pytest

from trellis_celery.cli import logs


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> logging.Logger:
    """Its logger, with no handlers but those that a test adds. pytest puts its own on the root again for each test."""
    logger = logging.getLogger("trellis_celery")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logs, "is_configured", lambda: bool(logger.handlers))
    return logger


def test_a_record_is_a_line_with_the_error(package: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    logs.to_standard_error()

    package.error("step_not_sent process_id=3-abc step=charge", exc_info=ValueError("no\nqueue"))

    assert capsys.readouterr().err == "ERROR: step_not_sent process_id=3-abc step=charge ValueError: no queue\n"


def test_what_is_below_a_warning_is_left_out(package: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    logs.to_standard_error()

    package.info("step_started")

    assert capsys.readouterr().err == ""


def test_a_program_that_has_decided_where_records_go_is_left_alone(package: logging.Logger) -> None:
    own = logging.NullHandler()
    package.addHandler(own)

    logs.to_standard_error()

    assert package.handlers == [own]


def test_it_is_set_up_once(package: logging.Logger) -> None:
    logs.to_standard_error()
    logs.to_standard_error()

    assert len(package.handlers) == 1
