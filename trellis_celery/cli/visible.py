"""Text from outside, made harmless for a terminal.

Names, errors and metadata come from tasks, from other services, from anybody. Control characters could move the cursor
or write to the clipboard, and those that turn the direction of writing could make one id look like another.
"""

from __future__ import annotations

import unicodedata


def visible(text: str) -> str:
    """The text in one line, with a question mark for whatever does not stand for itself."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else " " if one.isspace() else "?" for one in text)


def escaped(json_text: str) -> str:
    """JSON with an escape for whatever does not stand for itself: the same JSON, harmless to look at."""
    if json_text.isprintable():
        return json_text
    return "".join(one if one.isprintable() else _escape(one) for one in json_text)


def width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(_width(one) for one in text)


def fitting(text: str, columns: int) -> str:
    """The text, cut to so many columns at the most."""
    if width(text) <= columns:
        return text
    kept = ""
    for one in text:
        if width(kept) + _width(one) > columns - 1:
            break
        kept += one
    return f"{kept}…"


def quoted(text: str, columns: int = 80) -> str:
    """A text that somebody typed, as an error repeats it."""
    return f"'{fitting(visible(text), columns)}'"


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
