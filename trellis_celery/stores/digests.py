"""Short stand-ins for what users call things, for names of indexes and for columns under an index.

Two texts may have one digest: whoever finds something by a digest compares the text as well.
"""

from __future__ import annotations

from hashlib import blake2b

#: Bytes.
SIZE = 8


def digest(*texts: str) -> bytes:
    """Eight bytes for a text or a tuple of texts. A part of the stored format."""
    parts = (text.encode() for text in texts)
    return blake2b(b"".join(len(part).to_bytes(4, "big") + part for part in parts), digest_size=SIZE).digest()


def digest_number(*texts: str) -> int:
    """The same as a signed 64-bit number."""
    return int.from_bytes(digest(*texts), "big", signed=True)
