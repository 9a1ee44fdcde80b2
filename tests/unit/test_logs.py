from __future__ import annotations

import logging

import pytest

from trellis_celery.logs import EventLogger

logger = EventLogger("trellis_celery.here")


def test_the_facts_are_in_the_message_and_in_extra(caplog: pytest.LogCaptureFixture) -> None:
    logger.warning("write_kept", extra={"process_id": "3-abc", "attempt": 2, "step": None})

    (record,) = caplog.records
    assert record.getMessage() == "write_kept process_id=3-abc attempt=2 step=-"
    assert (vars(record)["event"], vars(record)["process_id"], vars(record)["attempt"]) == ("write_kept", "3-abc", 2)


def test_records_of_one_event_have_one_template(caplog: pytest.LogCaptureFixture) -> None:
    logger.warning("write_kept", extra={"process_id": "3-abc"})
    logger.warning("write_kept", extra={"process_id": "4-def 100%s"})

    assert {record.msg for record in caplog.records} == {"write_kept process_id=%s"}
    assert caplog.messages[1] == "write_kept process_id='4-def 100%s'"


@pytest.mark.fault("X9")
@pytest.mark.parametrize(
    ("fact", "shown"),
    [
        ("x\nERROR all_is_well", r"'x\nERROR all_is_well'"),
        ("x step=other", "'x step=other'"),
        ("", "''"),
        ("\x1b[2J\u202e\ud800", r"'\x1b[2J\u202e\ud800'"),
        ("Zoë", "Zoë"),
    ],
)
def test_a_fact_from_outside_can_forge_neither_a_line_nor_another_fact(
    caplog: pytest.LogCaptureFixture, fact: str, shown: str
) -> None:
    logger.error("not_tracked", extra={"error": fact})

    assert caplog.messages == [f"not_tracked error={shown}"]


def test_a_record_names_the_line_that_wrote_it(caplog: pytest.LogCaptureFixture) -> None:
    def keep() -> None:
        logger.exception("keep_alive_failed")

    try:
        raise ValueError("no")
    except ValueError:
        keep()

    (record,) = caplog.records
    assert (record.filename, record.funcName) == ("test_logs.py", "keep")
    assert record.exc_info is not None


def test_what_nobody_wants_to_read_is_not_written(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger="trellis_celery.here")

    logger.warning("write_kept")

    assert caplog.records == []
