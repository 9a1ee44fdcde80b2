"""The process store in DynamoDB.

Decisions are made in Python; a transaction writes one only if the step's version is still the one it was made for.
Nothing has a time to live, because an expiry would be a decision that nobody made, and nothing is ever scanned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trellis_celery.domain.events import Event
from trellis_celery.domain.identity import BusinessKey, is_process_id
from trellis_celery.domain.process import Process
from trellis_celery.domain.queries import Finished, Position, ProcessFilter, ProcessSummary, Stats
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import EVERYTHING, Change, Clock, Committed, Conflict, Due, LastCheck, LeaseKey, StepKey
from trellis_celery.stores.dynamodb.calls import Calls
from trellis_celery.stores.dynamodb.clocks import Clocks
from trellis_celery.stores.dynamodb.commits import Commits
from trellis_celery.stores.dynamodb.connect import DEFAULT_TABLE
from trellis_celery.stores.dynamodb.lists import Lists
from trellis_celery.stores.dynamodb.log import LogWriter
from trellis_celery.stores.dynamodb.messages import load_messages
from trellis_celery.stores.dynamodb.processes import Processes

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient


#: Of the clocks that have run out no more are counted.
MOST_COUNTED = 1_000


class DynamoDBStore:
    """A `ProcessStore` in one table of DynamoDB. Threads may share it, and forked processes.

    client
        From `connect`, or boto3's own. Its timeouts and its own tries must fit into `timeout_ms`.
    table
        The name of the table: see `tables.create_tables`.
    timeout_ms
        The most that one call to DynamoDB may take with its repetitions.
    clock
        The time it goes by; if left out this machine's, kept within the second that DynamoDB tells with each reply.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        *,
        table: str = DEFAULT_TABLE,
        timeout_ms: int = 2_000,
        clock: Clock | None = None,
    ) -> None:
        self._calls = Calls(client, table=table, timeout_ms=timeout_ms)
        self._clock: Clock = self._calls if clock is None else clock
        log = LogWriter(table)
        self._processes = Processes(self._calls, self._clock, log)
        self._commits = Commits(self._calls, self._clock, log, self._processes)
        self._clocks = Clocks(self._calls, self._processes, self._clock.now_ms)
        self._lists = Lists(self._calls)

    @property
    def calls(self) -> Calls:
        """By which it reaches its table."""
        return self._calls

    def now_ms(self) -> int:
        return self._clock.now_ms()

    # Processes

    def create(self, process: Process, *, replaces: str | None = None, is_announced: bool = False) -> str:
        """Nothing is announced: there is no outbox here."""
        return self._processes.create(process, replaces=replaces)

    def load(self, process_id: str) -> Process:
        return self._processes.load(process_id)

    def find(self, key: BusinessKey) -> str | None:
        return self._processes.find(key)

    def list_processes(
        self, only: ProcessFilter = EVERYTHING, *, limit: int = 50, after: Position | None = None
    ) -> list[ProcessSummary]:
        return self._lists.list_processes(only, limit=limit, after=after)

    def history(self, process_id: str) -> list[Event]:
        return self._processes.history(process_id) if is_process_id(process_id) else []

    def delete(self, process_id: str, *, finished_since_ms: int | None = None) -> bool:
        return self._processes.delete(process_id, finished_since_ms=finished_since_ms)

    # Finished processes

    def finished(
        self, *, is_archived: bool, until_ms: int | None = None, limit: int, after: Finished | None = None
    ) -> list[Finished]:
        return self._lists.finished(is_archived=is_archived, until_ms=until_ms, limit=limit, after=after)

    def count_finished(self, *, is_archived: bool) -> int:
        return self._lists.count_finished(is_archived=is_archived)

    def mark_archived(self, finished: Sequence[Finished]) -> None:
        self._lists.mark_archived(finished)

    def stats(self) -> Stats:
        """Processes that are not finished, and those with incidents, whatever their type; and no totals of events.

        To count means to read here, and what is written by everybody would be in everybody's way.
        """
        due = self._clocks.due(now_ms=self.now_ms(), limit=MOST_COUNTED, with_leases=True)
        return Stats(processes=self._lists.count_open(), due=len(due))

    # Steps

    def load_steps(self, keys: Sequence[StepKey]) -> list[ProcessStep | Exception | None]:
        return self._processes.load_steps(keys)

    def load_messages(self, keys: Sequence[StepKey]) -> list[bytes | None]:
        return load_messages(self._calls, keys)

    def commit(self, changes: Sequence[Change]) -> list[Committed | Conflict | Exception]:
        by_process: dict[str, list[tuple[int, Change]]] = {}
        for number, change in enumerate(changes):
            by_process.setdefault(change.process_id, []).append((number, change))
        # Those of one process one after the other, because they would only be in each other's way.
        done = self._calls.parallel(
            lambda group: [(number, self._commits.commit(change)) for number, change in group], by_process.values()
        )
        outcomes = dict(outcome for group in done for outcome in group)
        return [outcomes[number] for number in range(len(changes))]

    # Clocks

    def due(self, *, now_ms: int, limit: int, with_leases: bool = True) -> list[Due]:
        return self._clocks.due(now_ms=now_ms, limit=limit, with_leases=with_leases)

    def discard(self, due: Sequence[Due], *, until_ms: int | None) -> None:
        self._clocks.discard(due, until_ms=until_ms)

    def renew(self, leases: Sequence[LeaseKey], *, until_ms: int) -> LastCheck:
        return self._clocks.renew(leases, until_ms=until_ms)

    def last_check(self) -> LastCheck:
        return self._clocks.last_check()

    def note_check(self, check: LastCheck) -> None:
        self._clocks.note_check(check)
