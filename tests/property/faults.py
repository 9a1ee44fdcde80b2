"""What goes wrong between a program and its store, at calls that a test chooses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from enum import Enum, auto
from typing import Any

from trellis_celery import errors

#: How often each fault was injected since the start.
injected: Counter[str] = Counter()


class Fault(Enum):
    """Of a call. After the first three the caller does not know what became of it, or is dead."""

    NOT_DONE = auto()
    #: Done, but the reply was lost.
    NOT_ANSWERED = auto()
    #: The first half of a batch was done.
    HALF_DONE = auto()
    #: The reply was lost, and the client sent the call again.
    DONE_TWICE = auto()
    #: Others get on right before the call.
    OVERTAKEN = auto()


class Unanswered(errors.StoreUnavailable):
    pass


class Faults:
    """Counts calls, and has those go wrong that the plan names."""

    def __init__(self) -> None:
        self._plan: Mapping[int, Fault] = {}
        self._calls = 0
        self._meanwhile: Callable[[], object] = lambda: None

    @contextmanager
    def planned(self, plan: Mapping[int, Fault], meanwhile: Callable[[], object]) -> Any:
        """Inside, the calls with these numbers, from 0 on, go wrong. `meanwhile`: what others do when they overtake."""
        self._plan, self._calls, self._meanwhile = plan, 0, meanwhile
        try:
            yield
        finally:
            self._plan = {}

    def call(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        fault = self._plan.get(self._calls)
        self._calls += 1
        if fault is None:
            return operation(*args, **kwargs)
        injected[fault.name.lower()] += 1
        match fault:
            case Fault.NOT_DONE:
                raise Unanswered
            case Fault.NOT_ANSWERED:
                operation(*args, **kwargs)
                raise Unanswered
            case Fault.HALF_DONE:
                if args and isinstance(args[0], list):
                    operation(args[0][: len(args[0]) // 2], *args[1:], **kwargs)
                raise Unanswered
            case Fault.DONE_TWICE:
                operation(*args, **kwargs)
            case Fault.OVERTAKEN:
                plan, self._plan = self._plan, {}
                self._meanwhile()
                self._plan = plan
        return operation(*args, **kwargs)


class FaultyStore:
    """A store of which each call may go wrong. What it promises is what the real one promises."""

    def __init__(self, store: Any, faults: Faults) -> None:
        self._store = store
        self._faults = faults

    def now_ms(self) -> int:
        return int(self._store.now_ms())

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._store, name)
        return lambda *args, **kwargs: self._faults.call(operation, *args, **kwargs)
