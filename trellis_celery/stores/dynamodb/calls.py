"""One way to DynamoDB for all calls: each is repeated within a time limit, and every reply tells the time.

Trap: a try that failed may have been carried out all the same. A transaction is then repeated under its first token, by
which DynamoDB knows it again; what DynamoDB has cancelled goes out under a new one.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import parsedate_to_datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from trellis_celery import errors
from trellis_celery.domain.machine_clock import machine_now_ms
from trellis_celery.stores.dynamodb import tables
from trellis_celery.stores.dynamodb.keys import LAST_CHECK, Key
from trellis_celery.stores.dynamodb.translate import (
    CANCELLED,
    CONDITION_FAILED,
    DriverError,
    as_ours,
    code_of,
    is_temporary,
    is_unsure,
    reasons_of,
    reply_of,
)
from trellis_celery.stores.dynamodb.values import Item
from trellis_celery.stores.server_clock import ServerClock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

A = TypeVar("A")
R = TypeVar("R")

#: How many calls of one operation are under way at a time.
THREADS = 8
#: Limits of DynamoDB.
MOST_KEYS_READ = 100
MOST_ITEMS_WRITTEN = 25
#: The pause before a further try doubles from the first to the second of these, with jitter, seconds.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.01, 0.2


class ConditionFailed(Exception):
    """Nothing was written. Never leaves the store."""

    def __init__(self, found: Mapping[int, Item | None], *, may_be_done: bool) -> None:
        #: By the number of the write whose condition failed: the item as it is, None if there is none.
        self.found = found
        #: An earlier try of the same call went unanswered: the condition may have failed because that one succeeded.
        self.may_be_done = may_be_done
        super().__init__(f"conditions {sorted(found)} failed")


class Calls:
    """Calls to DynamoDB about one table. Threads may share it; a forked process makes connections of its own."""

    def __init__(self, client: DynamoDBClient, *, table: str, timeout_ms: int) -> None:
        self._client: Any = client
        self.table = table
        self._timeout_s = timeout_ms / 1000
        self._pid = os.getpid()
        self._is_current = False
        self._has_answered = False
        self._clock = ServerClock()
        self._clock.correct(machine_now_ms(), called_at_s=time.monotonic())

    @property
    def client(self) -> DynamoDBClient:
        """For what is not about items; nothing is tried again."""
        client: DynamoDBClient = self._client
        return client

    # Time

    def now_ms(self) -> int:
        """This machine's time, kept within the second that DynamoDB's last replies told."""
        if not self._has_answered:
            self.get(LAST_CHECK)
        return self._clock.now_ms()

    def _learn_time(self, reply: Mapping[str, Any], called_at_s: float) -> None:
        headers = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        with suppress(KeyError, TypeError, ValueError):
            told_ms = parsedate_to_datetime(headers["date"]).timestamp() * 1000
            # It is cut to whole seconds: it was that time somewhen between a second before the call and the reply.
            self._clock.correct(told_ms, called_at_s=called_at_s - 1)
            self._has_answered = True

    # One call

    def end_s(self) -> float:
        """When a call that begins now has to be over, by `time.monotonic`."""
        return time.monotonic() + self._timeout_s

    def call(self, operation: str, *, until_s: float | None = None, **parameters: Any) -> dict[str, Any]:
        """The reply. Raises ConditionFailed, or a StoreError."""
        end_s = self.end_s() if until_s is None else until_s
        self._leave_parent()
        if not self._is_current:
            self._try(lambda: tables.require_current(self._client, self.table), end_s)
            self._is_current = True
        method = getattr(self._client, operation)
        if operation != "transact_write_items":
            return dict(self._try(lambda: method(**parameters), end_s))
        return dict(self._try(lambda: method(**parameters), end_s, parameters))

    def _leave_parent(self) -> None:
        if self._pid != os.getpid():  # the pooled connections are our parent's
            self._pid = os.getpid()
            self._client.close()

    def _try(self, act: Callable[[], Any], end_s: float, transaction: dict[str, Any] | None = None) -> Any:
        may_be_done = False
        pause_s = FIRST_PAUSE_S
        while True:
            if transaction is not None:
                transaction.setdefault("ClientRequestToken", uuid4().hex)
            called_at_s = time.monotonic()
            try:
                reply = act()
            except DriverError as error:
                self._learn_time(reply_of(error), called_at_s)
                _raise_if_condition_failed(error, may_be_done)
                wait_s = pause_s * random.uniform(0.5, 1)  # noqa: S311 - jitter
                if not is_temporary(error) or time.monotonic() + wait_s > end_s - self._timeout_s / 2:
                    raise as_ours(error, table=self.table) from error
                may_be_done = may_be_done or is_unsure(error)
                if transaction is not None and code_of(error) == CANCELLED and not may_be_done:
                    del transaction["ClientRequestToken"]
                time.sleep(wait_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                if reply is not None:
                    self._learn_time(reply, called_at_s)
                return reply or {}

    def transact(self, writes: Sequence[Mapping[str, Any]], *, until_s: float | None = None) -> None:
        """All the writes or none. Raises ConditionFailed with the numbers of those that could not be done."""
        self.call("transact_write_items", TransactItems=writes, until_s=until_s)

    # Items

    def get(self, key: Key) -> Item | None:
        item: Item | None = self.call("get_item", TableName=self.table, Key=key.packed, ConsistentRead=True).get("Item")
        return item

    def get_many(self, keys: Iterable[Key]) -> dict[Key, Item]:
        """The items that there are."""
        parts = self.parallel(self._get_batch, _cut(list(dict.fromkeys(keys)), MOST_KEYS_READ))
        return {Key(item["pk"]["S"], item["sk"]["S"]): item for item in chain.from_iterable(parts)}

    def _get_batch(self, keys: Sequence[Key]) -> list[Item]:
        found: list[Item] = []
        rest: Any = {self.table: {"Keys": [key.packed for key in keys], "ConsistentRead": True}}
        for _ in self._rounds():
            reply = self.call("batch_get_item", RequestItems=rest)
            found += reply["Responses"].get(self.table, ())
            rest = reply.get("UnprocessedKeys")
            if not rest:
                break
        return found

    def put_many(self, items: Sequence[Item]) -> None:
        self._write_many({"PutRequest": {"Item": item}} for item in items)

    def delete_many(self, keys: Iterable[Key]) -> None:
        self._write_many({"DeleteRequest": {"Key": key.packed}} for key in keys)

    def _write_many(self, requests: Iterable[Mapping[str, Any]]) -> None:
        self.parallel(self._write_batch, _cut(list(requests), MOST_ITEMS_WRITTEN))

    def _write_batch(self, requests: Sequence[Mapping[str, Any]]) -> None:
        rest: Any = {self.table: list(requests)}
        for _ in self._rounds():
            rest = self.call("batch_write_item", RequestItems=rest).get("UnprocessedItems")
            if not rest:
                break

    def _rounds(self) -> Iterator[None]:
        """As long as a batch may go on with what DynamoDB left over. Raises StoreUnavailable after that."""
        end_s, pause_s = self.end_s(), FIRST_PAUSE_S
        while time.monotonic() < end_s:
            yield
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        raise errors.StoreUnavailable("DynamoDB leaves parts of a batch undone: the table is being throttled")

    def pages(self, **query: Any) -> Iterator[dict[str, Any]]:
        """The replies to a query of the table or an index, until there are no more."""
        start: dict[str, Any] = {}
        while True:
            reply = self.call("query", TableName=self.table, **query, **start)
            yield reply
            if not reply.get("LastEvaluatedKey"):
                return
            start = {"ExclusiveStartKey": reply["LastEvaluatedKey"]}

    def parallel(self, act: Callable[[A], R], arguments: Iterable[A]) -> list[R]:
        """The results in order. The threads end with the call: a forked process would not have them."""
        todo = list(arguments)
        if len(todo) < 2:
            return [act(argument) for argument in todo]
        with ThreadPoolExecutor(min(THREADS, len(todo)), thread_name_prefix="trellis-dynamodb") as threads:
            return list(threads.map(act, todo))


def _raise_if_condition_failed(error: Exception, may_be_done: bool) -> None:
    if code_of(error) == "ConditionalCheckFailedException":
        item: Item | None = reply_of(error).get("Item")
        raise ConditionFailed({0: item}, may_be_done=may_be_done) from None
    if code_of(error) == CANCELLED:
        failed = {
            number: reason.get("Item")
            for number, reason in enumerate(reasons_of(error))
            if reason.get("Code") == CONDITION_FAILED
        }
        if failed:
            raise ConditionFailed(failed, may_be_done=may_be_done) from None


def _cut(every: Sequence[A], size: int) -> list[Sequence[A]]:
    return [every[start : start + size] for start in range(0, len(every), size)]
