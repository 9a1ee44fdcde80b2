"""Text from outside, made harmless for a page.

Names, errors and metadata come from tasks, from other services, from anybody. Besides markup, characters that nobody
sees, or that turn the direction of writing, could make one id look like another: they are shown as what they are.
"""

from __future__ import annotations

from tornado.escape import xhtml_escape


def safely(text: str | bytes) -> str:
    """What every expression in our templates goes through."""
    return xhtml_escape(visible(text if isinstance(text, str) else text.decode(errors="replace")))


def visible(text: str) -> str:
    """The text with an escape for whatever does not stand for itself; lines stay lines."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else _escape(one) for one in text)


def _escape(character: str) -> str:
    return f"\\u{ord(character):04x}" if ord(character) <= 0xFFFF else f"\\U{ord(character):08x}"
