"""What a list is asked for: from the query of a URL and back. The JSON API and the pages understand the same words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from msgspec import Struct
from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain.identity import is_process_id
from trellis_celery.domain.process import ProcessState
from trellis_celery.domain.queries import Position, ProcessFilter
from trellis_celery.ports import EVERYTHING

PAGE_SIZE = 50
MAX_PAGE_SIZE = 500

#: "newest": those started last come first. "state": by state in the order below, in each the newest first.
ORDERS = ("newest", "state")
STATE_ORDER = (
    ProcessState.FAILED,
    ProcessState.IN_PROGRESS,
    ProcessState.PENDING,
    ProcessState.CANCELLED,
    ProcessState.COMPLETED,
)

#: The words of a query and the parts of a `ProcessFilter` that they set.
_TEXTS = {
    "type": "process_type",
    "tenant": "tenant_id",
    "aggregate_type": "aggregate_type",
    "aggregate_id": "aggregate_id",
}
_FLAGS = {"overdue": "is_overdue", "incident": "has_incident"}
_TIMES = {"started_from_ms": "started_from_ms", "started_before_ms": "started_before_ms"}
WORDS = (*_TEXTS, "state", *_FLAGS, *_TIMES, "min_age_ms", "order", "limit", "after")

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class Place(Struct, frozen=True):
    """Where a page begins: behind this position, within this state if the list is in the order of states."""

    position: Position
    state: ProcessState | None = None

    def __str__(self) -> str:
        text = f"{self.position.started_at_ms}/{self.position.process_id}"
        return text if self.state is None else f"{self.state}/{text}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """Raises DefinitionError."""
        found = re.fullmatch(r"(?:([a-z_]{1,20})/)?([0-9]{1,15})/(.*)", text)
        if found is None or not is_process_id(found[3]) or (found[1] and found[1] not in list(ProcessState)):
            raise errors.DefinitionError("after must be what the page before gave as next")
        state = ProcessState(found[1]) if found[1] else None
        return cls(Position(int(found[2]), found[3]), state)


class Query(Struct, frozen=True, kw_only=True):
    only: ProcessFilter = EVERYTHING
    #: Only processes that were started at least so long ago; it moves with time, other than `started_before_ms`.
    min_age_ms: int | None = None
    order: str = "newest"
    limit: int = PAGE_SIZE
    after: Place | None = None

    @classmethod
    def parse(cls, arguments: Mapping[str, str]) -> Query:
        """Raises DefinitionError or InvalidIdentifier, with the reason. What is empty counts as not said."""
        said = {name: value for name, value in arguments.items() if value != ""}
        if unknown := sorted(set(said) - set(WORDS)):
            raise errors.DefinitionError(f"{unknown[0][:40]!r} is not known here; known are {', '.join(WORDS)}")
        parts: dict[str, Any] = {field: said[word] for word, field in _TEXTS.items() if word in said}
        parts |= {field: _flag(word, said[word]) for word, field in _FLAGS.items() if word in said}
        parts |= {field: _number(word, said[word]) for word, field in _TIMES.items() if word in said}
        if "state" in said:
            parts["state"] = _one_of("state", said["state"], ProcessState)
        query = cls(
            only=ProcessFilter(**parts),
            min_age_ms=_number("min_age_ms", said["min_age_ms"]) if "min_age_ms" in said else None,
            order=_one_of("order", said.get("order", "newest"), ORDERS),
            limit=_number("limit", said.get("limit", str(PAGE_SIZE))),
            after=Place.parse(said["after"]) if "after" in said else None,
        )
        if not 1 <= query.limit <= MAX_PAGE_SIZE:
            raise errors.DefinitionError(f"limit must be between 1 and {MAX_PAGE_SIZE}, not {query.limit}")
        if query.after is not None and (query.after.state is None) != (query.order == "newest"):
            raise errors.DefinitionError("after is the end of a page that was read in another order")
        return query

    def words(self, **changes: str | None) -> dict[str, str]:
        """The query as words, with some changed; None leaves one out."""
        only = self.only
        said: dict[str, Any] = {word: getattr(only, field) for word, field in {**_TEXTS, **_TIMES}.items()}
        said |= {word: "1" for word, field in _FLAGS.items() if getattr(only, field)}
        said |= {"state": only.state, "min_age_ms": self.min_age_ms, "after": self.after}
        said |= {"order": self.order if self.order != "newest" else None}
        said |= {"limit": self.limit if self.limit != PAGE_SIZE else None}
        said |= changes
        return {word: str(value) for word, value in said.items() if value is not None}

    def text(self, **changes: str | None) -> str:
        """The query for a URL, with its question mark if there is anything to ask."""
        words = self.words(**changes)
        return f"?{urlencode(words)}" if words else ""

    def filter_at(self, now_ms: int) -> ProcessFilter:
        if self.min_age_ms is None:
            return self.only
        latest_ms = now_ms - self.min_age_ms + 1
        before_ms = self.only.started_before_ms
        return replace(self.only, started_before_ms=latest_ms if before_ms is None else min(before_ms, latest_ms))

    def parts(self, now_ms: int) -> Iterator[tuple[ProcessFilter, Place | None]]:
        """The lists that make up the list in this order, and where to begin in each."""
        only = self.filter_at(now_ms)
        if self.order == "newest":
            yield only, self.after
            return
        states = [state for state in STATE_ORDER if only.state in (None, state)]
        if self.after is not None and self.after.state in states:
            states = states[states.index(self.after.state) :]
        for state in states:
            try:
                part = replace(only, state=state)
            except errors.DefinitionError:  # nothing in this state is overdue, or has an incident
                continue
            yield part, self.after if self.after is not None and self.after.state is state else None


def _flag(word: str, text: str) -> bool:
    if text.lower() in (*_TRUE, *_FALSE):
        return text.lower() in _TRUE
    raise errors.DefinitionError(f"{word} must be 1 or 0, not {text[:40]!r}")


def _number(word: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,15}", text):
        raise errors.DefinitionError(f"{word} must be a whole number, not {text[:40]!r}")
    return int(text)


def _one_of(word: str, text: str, known: Any) -> Any:
    for one in known:
        if text == one:
            return one
    raise errors.DefinitionError(f"{word} must be one of {', '.join(known)}, not {text[:40]!r}")
