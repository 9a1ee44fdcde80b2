"""One change: one transaction, made from what is known of the process, and made again where that was wrong.

The head is remembered from the last time, so a commit is one round trip; a program that sees the process for the first
time reads the head before. Only a record of another version is a conflict. Everything else that a transaction may fail
for (another commit counted at the same time, the message is longer than thought, the business key is somebody else's)
is learnt from the failure, and the transaction is made again.
"""

from __future__ import annotations

import time
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from trellis_celery import errors
from trellis_celery.domain.identity import is_process_id
from trellis_celery.domain.process import ProcessState, process_event
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import Change, Clock, Committed, Conflict
from trellis_celery.stores import classes
from trellis_celery.stores.dynamodb import heads, keys, messages, steps
from trellis_celery.stores.dynamodb.calls import Calls, ConditionFailed
from trellis_celery.stores.dynamodb.heads import Head, read_head
from trellis_celery.stores.dynamodb.log import LogWriter
from trellis_celery.stores.dynamodb.processes import Processes
from trellis_celery.stores.dynamodb.values import Item, expressions, packed_item

#: The places of the writes in the transaction.
_HEAD, _STEP, _LIVE = range(3)


class _Attempt(Struct):
    """What the next transaction is made from."""

    head: Head
    #: The message may consist of so many items now.
    message_parts: int = 1
    #: The business key is, or may become, the process's own.
    may_hold_key: bool = True


class Commits:
    def __init__(self, calls: Calls, clock: Clock, log: LogWriter, processes: Processes) -> None:
        self._calls = calls
        self._clock = clock
        self._log = log
        self._processes = processes

    def commit(self, change: Change) -> Committed | Conflict | Exception:
        try:
            return self._commit(change)
        except errors.StoreError as error:
            return error

    def _commit(self, change: Change) -> Committed | Conflict:
        end_s = self._calls.end_s()
        if not is_process_id(change.process_id):
            return Conflict(None)
        parts = messages.parts_after(change)
        head = self._processes.heads.get(change.process_id) or self._processes.head(change.process_id)
        if head is None or not self._may_exist(change):
            return Conflict(None)
        attempt = _Attempt(head)
        while True:
            now_ms = self._clock.now_ms()
            after = _head_after(attempt.head, change, now_ms)
            writes = self._transaction(change, attempt, after, parts, now_ms)
            try:
                self._calls.transact(writes, until_s=end_s)
            except ConditionFailed as failed:
                outcome = self._learn(failed, change, attempt, after)
                if outcome is not None:
                    return outcome
                if time.monotonic() > end_s:
                    raise errors.StoreUnavailable(
                        f"too many others write process {change.process_id} at the same time"
                    ) from None
            else:
                self._processes.heads.put(change.process_id, after)
                return Committed(_written(change), attempt.head.state, after.state)

    def _may_exist(self, change: Change) -> bool:
        """Whether the process has such a step. One that was written before has an item to tell it."""
        before = change.transition.before
        if before.version != 1:
            return True
        definition = self._processes.definition(change.process_id)
        return definition is not None and before.name in definition.records

    # The transaction

    def _transaction(
        self, change: Change, attempt: _Attempt, after: Head, parts: int | None, now_ms: int
    ) -> list[dict[str, Any]]:
        table, transition = self._calls.table, change.transition
        most_parts = max(attempt.message_parts, parts or 0)
        end = process_event(attempt.head.state, after.state, change.occurred_at_ms)
        return [
            heads.write_of(table, attempt.head, after),
            steps.write_of(table, change, now_ms=now_ms, message_parts=parts, most_parts=most_parts),
            *self._hold_or_release(attempt, after),
            *messages.writes_of(table, change, parts=parts, parts_before=most_parts),
            *self._log.writes_of(
                change.process_id,
                transition.before.name,
                transition.before.version + 1,
                transition.events if end is None else (*transition.events, end),
                now_ms=now_ms,
            ),
        ]

    def _hold_or_release(self, attempt: _Attempt, after: Head) -> list[dict[str, Any]]:
        """The write of the item that says which process is live: always at its place in the transaction, or absent."""
        was, is_ = attempt.head.state.is_terminal, after.state.is_terminal
        if was == is_ or not attempt.may_hold_key:
            return []
        table, process_id = self._calls.table, after.process_id
        key = keys.live(after.key).packed
        if is_:
            mine = expressions(condition="#process_id = :process_id", process_id=process_id)
            return [{"Delete": {"TableName": table, "Key": key, **mine}}]
        free = expressions(condition="attribute_not_exists(#pk)")
        return [{"Put": {"TableName": table, "Item": {**key, **packed_item(process_id=process_id)}, **free}}]

    # What a failed transaction tells

    def _learn(
        self, failed: ConditionFailed, change: Change, attempt: _Attempt, after: Head
    ) -> Committed | Conflict | None:
        """The outcome, or None if the transaction is to be made again."""
        found = failed.found
        if _HEAD in found and found[_HEAD] is None:
            self._processes.heads.forget(change.process_id)
            return Conflict(None)
        if _STEP in found:
            current = self._current(change, found[_STEP])
            if current is None:
                return Conflict(None)
            if _is_own(change, found[_STEP], current):
                states = (attempt.head.state, after.state) if failed.may_be_done else self._states_now(change)
                return Committed(current, *states)
            if current.version != change.transition.before.version:
                return Conflict(current)
            attempt.message_parts = _message_parts(found[_STEP])
        if (head := found.get(_HEAD)) is not None:
            attempt.head = read_head(change.process_id, head)
            attempt.may_hold_key = True
        elif _LIVE in found:
            attempt.may_hold_key = False
        return None

    def _current(self, change: Change, item: Item | None) -> ProcessStep | None:
        if item is not None:
            return steps.read_step(change.key, item)
        definition = self._processes.definition(change.process_id)
        return None if definition is None else definition.record(change.key.step_name)

    def _states_now(self, change: Change) -> tuple[ProcessState, ProcessState]:
        head = self._processes.head(change.process_id)
        state = ProcessState.CANCELLED if head is None else head.state
        return state, state


def _head_after(head: Head, change: Change, now_ms: int) -> Head:
    return head.after(*classes.moved(change.transition.before, change.transition.after), now_ms=now_ms)


def _written(change: Change) -> ProcessStep:
    return replace(change.transition.after, version=change.transition.before.version + 1)


def _is_own(change: Change, item: Item | None, current: ProcessStep) -> bool:
    token = None if item is None else item.get("token", {}).get("S")
    return current.version == change.transition.before.version + 1 and token == change.token


def _message_parts(item: Item | None) -> int:
    return 1 if item is None else int(item.get("message_parts", {}).get("N", 1))
