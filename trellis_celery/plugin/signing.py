"""Signatures of our header: with `trellis_signing_key`, who can only write to the broker cannot say what does a step.

Signed is all that is read of the header, and what ties it to its message: the message's id, its task, and Celery's
count of retries. Arguments are not: Celery's own ``auth`` serializer signs those.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import msgspec

SIGNATURE = "sig"

#: Every field of the header. Signed are those that it has: one that is new changes nothing for headers without it.
_FIELDS = (
    "v",
    "process",
    "type",
    "step",
    "task",
    "attempt",
    "run",
    "by",
    "version",
    "record",
    "digest",
    "claim",
    "trace",
)
_CONTEXT = "trellis header"

_encode = msgspec.json.Encoder().encode


class Signer:
    """Signs with the first of the keys, and trusts what any of them has signed. Without keys it trusts everything.

    An empty key among them stands for messages that nobody has signed, for the time in which programs get their key.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._keys = [hmac.new(key.encode(), digestmod="sha256") for key in keys if key]
        self._takes_unsigned = not self._keys or "" in keys
        #: Tells programs with other keys apart, and nothing of the keys; empty without any.
        self.fingerprint = ",".join(_fingerprint(key) for key in keys)

    def sign(self, wire: MutableMapping[str, Any], message: Mapping[str, Any]) -> None:
        """Sign a header that goes out with this message. `message`: Celery's headers, with id, task and retries."""
        if self._keys:
            wire[SIGNATURE] = _digest(self._keys[0], _signed(wire, message))

    def trusts(self, wire: Any, message: Mapping[str, Any]) -> bool:
        """Whether a header that came with this message was signed for it. Never raises, whatever is in there."""
        if not self._keys:
            return True
        if not isinstance(wire, Mapping):
            return False
        signature = wire.get(SIGNATURE)
        if signature is None:
            return self._takes_unsigned
        try:
            signed, given = _signed(wire, message), signature.encode()
        except (AttributeError, TypeError, ValueError, OverflowError, RecursionError):  # what no sender of ours writes
            return False
        return any(hmac.compare_digest(_digest(key, signed).encode(), given) for key in self._keys)


def _signed(wire: Mapping[str, Any], message: Mapping[str, Any]) -> bytes:
    tie = (message.get("id"), message.get("task"), message.get("retries") or 0)
    fields = [(name, value) for name in _FIELDS if (value := wire.get(name)) is not None]
    return _encode((_CONTEXT, tie, fields))


def _digest(key: hmac.HMAC, data: bytes) -> str:
    own = key.copy()  # the key was worked in once
    own.update(data)
    return own.hexdigest()


def _fingerprint(key: str) -> str:
    return hmac.new(key.encode(), b"trellis fingerprint", "sha256").hexdigest()[:8] if key else "unsigned"


#: Signs nothing, and trusts everything.
NO_KEY = Signer()
