"""A task's message as it is stored, to be sent again: the very bytes, wherever the broker is told to put them.

The body is encoded as Celery would encode it, and never opened again, so any serializer and any content will do. `eta`
and the broker's own expiry are left out: what is sent again is late already. Celery's `expires` stays, because the team
said that the task must not run after it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from kombu.compression import compress
from kombu.serialization import dumps
from kombu.utils import json

from trellis_celery import errors

FORMAT = 1

#: RabbitMQ's delayed delivery routes from the one to the other; the queue's own routing key follows 28 dotted digits.
_DELAYED_EXCHANGE = "celery_delayed_27"
_DELIVERY_EXCHANGE = "celery_delayed_delivery"
_DELAY_PARTS = 28

#: Arguments of `Producer.publish` that belong to one sending, not to the message.
_NOT_STORED = frozenset({"retry", "retry_policy", "declare", "timeout", "confirm_timeout", "expiration"})


class Message(msgspec.Struct, array_like=True, frozen=True):
    format: int
    exchange: str
    routing_key: str
    content_type: str
    content_encoding: str
    body: bytes
    #: kombu's JSON, which carries what JSON alone cannot.
    headers: str
    #: Further arguments of `Producer.publish`, in kombu's JSON.
    properties: str

    def dump(self) -> bytes:
        return _encode(self)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


def load(data: bytes) -> Message:
    """Raises MessageUnsendable if these bytes are no message of ours."""
    try:
        message = _decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise errors.MessageUnsendable(f"the stored message is damaged: {error}") from None
    if message.format != FORMAT:
        raise errors.MessageUnsendable(f"the stored message has format {message.format}, unknown to this release")
    return message


def encode(body: Any, options: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """The body as `Producer.publish(body, **options)` would send it, and the options with which it is sent as it is.

    How it was compressed is written into the headers, as kombu does.
    """
    options = dict(options)
    content_type, content_encoding, encoded = dumps(body, serializer=options.pop("serializer", None))
    data = encoded.encode(content_encoding) if isinstance(encoded, str) else encoded
    if compression := options.pop("compression", None):
        data, options["headers"]["compression"] = compress(data, compression)
    return data, {**options, "content_type": content_type, "content_encoding": content_encoding}


def capture(data: bytes, options: Mapping[str, Any]) -> Message:
    """The message that `Producer.publish(data, **options)` would send. Both are as `encode` returns them."""
    options = dict(options)
    content_type, content_encoding = options.pop("content_type"), options.pop("content_encoding")
    headers = {**options.pop("headers"), "eta": None}
    exchange, routing_key = _destination(options.pop("exchange", ""), options.pop("routing_key", ""))
    properties = {name: value for name, value in options.items() if name not in _NOT_STORED and value is not None}
    return Message(
        FORMAT,
        exchange,
        routing_key,
        content_type,
        content_encoding,
        data,
        json.dumps(headers),
        json.dumps(properties),
    )


def args_digest(body: Any, serializer: str | None) -> str:
    """A short digest of the call's arguments, the same for the same call, in whatever order it names them."""
    args, kwargs, _ = body
    encoded = dumps((args, sorted((kwargs or {}).items())), serializer=serializer)[2]
    data = encoded.encode() if isinstance(encoded, str) else encoded
    return hashlib.blake2s(data, digest_size=8).hexdigest()


def _destination(exchange: Any, routing_key: str) -> tuple[str, str]:
    """Where the message goes once it is due."""
    name = getattr(exchange, "name", exchange) or ""
    if name != _DELAYED_EXCHANGE:
        return name, routing_key
    return _DELIVERY_EXCHANGE, routing_key.split(".", _DELAY_PARTS)[-1]
