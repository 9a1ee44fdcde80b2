from __future__ import annotations

from typing import Any

import pytest
from kombu import Exchange

from trellis_celery import errors
from trellis_celery.plugin import message

BODY = (["ref-1"], {"loud": True}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None})


def options(**more: Any) -> dict[str, Any]:
    return {
        "exchange": "",
        "routing_key": "mail",
        "serializer": "json",
        "headers": {"id": "task-1", "task": "send", "eta": "2030-01-01T00:00:00+00:00"},
        "delivery_mode": 2,
        **more,
    }


def captured(**more: Any) -> message.Message:
    return message.capture(*message.encode(BODY, options(**more)))


@pytest.mark.parametrize("serializer", ["json", "pickle", "msgpack", "yaml"])
def test_a_captured_message_has_the_bytes_that_kombu_would_send(serializer: str) -> None:
    from kombu.serialization import dumps

    _, encoding, expected = dumps(BODY, serializer=serializer)

    stored = message.load(captured(serializer=serializer).dump())

    assert stored.body == (expected.encode(encoding) if isinstance(expected, str) else expected)
    assert stored.content_encoding == encoding


def test_a_compressed_message_is_kept_compressed_and_says_how() -> None:
    from kombu.compression import decompress
    from kombu.utils import json

    compressed = captured(compression="zlib")

    kind = json.loads(compressed.headers)["compression"]
    assert decompress(compressed.body, kind) == captured().body


def test_the_message_that_is_sent_says_how_it_was_compressed() -> None:
    before = options(compression="zlib")

    _, after = message.encode(BODY, before)

    assert after["headers"]["compression"] == "application/x-gzip"
    assert "compression" not in after, "or it would be compressed twice"
    assert "serializer" not in after


def test_what_belongs_to_one_sending_is_not_kept() -> None:
    from kombu.utils import json

    stored = captured(
        retry=True, retry_policy={"max_retries": 3}, declare=["queue"], timeout=1, expiration=2.0, priority=7
    )

    assert json.loads(stored.properties) == {"delivery_mode": 2, "priority": 7}
    assert json.loads(stored.headers)["eta"] is None


def test_a_message_on_its_way_through_rabbitmqs_delays_is_kept_for_where_they_end() -> None:
    delayed = captured(exchange=Exchange("celery_delayed_27", type="topic"), routing_key="0." * 27 + "1.mail.urgent")

    assert (delayed.exchange, delayed.routing_key) == ("celery_delayed_delivery", "mail.urgent")


def test_the_digest_is_of_the_arguments_alone() -> None:
    again = (BODY[0], BODY[1], {"chain": ["something", "new", "each time"]})
    other = (["ref-2"], BODY[1], BODY[2])

    digests = [message.args_digest(body, "json") for body in (BODY, again, other)]

    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("data", [b"", b"\x00", b"not a message", b"\x93\x01\xa0\xa0"])
def test_bytes_that_are_no_message_are_unsendable(data: bytes) -> None:
    with pytest.raises(errors.MessageUnsendable, match="damaged"):
        message.load(data)


def test_a_message_of_a_later_release_is_unsendable_and_says_why() -> None:
    import msgspec

    later = msgspec.structs.replace(captured(), format=2)

    with pytest.raises(errors.MessageUnsendable, match="format 2"):
        message.load(later.dump())
