"""Every error that trellis raises.

::

    TrellisError
    ├── ConfigurationError        a setting is missing, unknown or has a bad value
    ├── DefinitionError           what is declared or given makes no sense       (also ValueError)
    ├── InvalidIdentifier         an id, a name or a text cannot be stored       (also ValueError)
    ├── ProcessExists             a live process has this business key already
    ├── ProcessNotFound           no process has this id                         (also LookupError)
    ├── StepNotFound              the process has no step of this name           (also LookupError)
    ├── InvalidTransition         the step's state does not allow what was asked
    ├── MessageUnsendable         a stored message can never be sent again
    └── StoreError                the store refused or could not be understood
        ├── StoreUnavailable      it did not answer in time, or not at all
        ├── SchemaOutdated        its tables are missing or of an older release
        ├── StaleWrite            a repository was given a record that is older than its own
        └── CorruptRecord         what it returned is not ours

An error has its facts as attributes and writes its own message: what happened, to which id, what to do next.
"""

from __future__ import annotations

import re


class TrellisError(Exception):
    """The root of all errors of this package."""


class ConfigurationError(TrellisError):
    """A setting is missing, unknown or has a bad value."""


class DefinitionError(TrellisError, ValueError):
    """A process type or a step is declared wrongly, or what a call was given makes no sense."""


class InvalidIdentifier(TrellisError, ValueError):
    """An id, a name or a text cannot be stored.

    It is no string; or, if it is to be an id or a name, empty, too long, or has characters that no store can hold.
    """

    def __init__(self, *, field: str, value: object, problem: str) -> None:
        self.field = field
        self.value = value
        super().__init__(f"{field} {_short(value)} {problem}")


class ProcessExists(TrellisError):
    """A live process has this business key already."""

    def __init__(self, *, process_id: str) -> None:
        self.process_id = process_id
        super().__init__(
            f"process {process_id} is live for this tenant, type and aggregate; "
            'finish or cancel it first, or start with if_exists="return" to get it'
        )


class ProcessNotFound(TrellisError, LookupError):
    """No process has this id."""

    def __init__(self, *, process_id: object) -> None:
        self.process_id = process_id
        super().__init__(f"no process has the id {_short(process_id)}")


class StepNotFound(TrellisError, LookupError):
    """The process has no step of this name."""

    def __init__(self, *, process_id: str, step: object, known: tuple[str, ...] = ()) -> None:
        self.process_id = process_id
        self.step = step
        steps = f"; its steps are {', '.join(known)}" if known else ""
        super().__init__(f"process {process_id} has no step {_short(step)}{steps}")


class InvalidTransition(TrellisError):
    """The step's state does not allow what was asked."""

    def __init__(self, *, step: str, state: str, asked: str, hint: str = "") -> None:
        self.step = step
        self.state = state
        self.asked = asked
        super().__init__(f"step {step!r} is {state} and cannot be {asked}" + (f"; {hint}" if hint else ""))


class MessageUnsendable(TrellisError):
    """A stored message can never be sent again: it is damaged, or its queue or exchange is not known any more."""


class StoreError(TrellisError):
    """The store refused an operation, or its answer could not be understood."""


class StoreUnavailable(StoreError):
    """The store did not answer in time, or not at all. Nothing is known of the operation's fate."""


class SchemaOutdated(StoreError):
    """The tables are missing, or are those of an older release. Nothing was read or written."""

    def __init__(self, *, found: str | None, needed: str) -> None:
        self.found = found
        self.needed = needed
        tables = "there are no tables" if found is None else f"the tables are of schema {found}"
        super().__init__(f"{tables}, and this release needs schema {needed}: run `celery -A … trellis migrate`")


class CorruptRecord(StoreError):
    """What the store holds under one of our keys was not written by us, or is damaged."""

    def __init__(self, *, key: str, problem: str) -> None:
        self.key = key
        super().__init__(f"the record {_short(key)} cannot be used: {problem}")


class StaleWrite(StoreError):
    """The record was written or removed by somebody else first, and was left as it is."""

    def __init__(self, *, process_id: str, step: str = "", version: int) -> None:
        self.process_id = process_id
        self.step = step
        self.version = version
        what = f"step {step!r} of process {process_id}" if step else f"process {process_id}"
        super().__init__(f"version {version} of {what} is not made from the stored one; load it and decide again")


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    return re.sub("(?i)(pass[a-z]*|pwd)=[^&]*", r"\1=**", re.sub("://.*@", "://**@", url))


def _short(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
