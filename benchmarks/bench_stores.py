"""What each store costs: commits, looking for what is due, the archive, and the room that a step takes.

All stores in one run, each on a server of its own on this machine. The figures say how the stores compare here, not
what a network between them and the workers costs. moto, which stands for DynamoDB, keeps no index and looks at
every item for each query: how often it is asked and what it answers counts, not how long it takes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import redis
from sqlalchemy import Engine, text

from benchmarks.dynamodb import Requests, table_bytes
from benchmarks.harness import save
from tests.support import databases, services
from trellis_celery.domain.process import Process
from trellis_celery.domain.queries import Finished
from trellis_celery.domain.step import ProcessStep
from trellis_celery.ports import Chronicle, HistoryArchive, ProcessStore
from trellis_celery.settings import Settings
from trellis_celery.stores.dynamodb import DynamoDBStore
from trellis_celery.stores.dynamodb.tables import create_tables
from trellis_celery.stores.memory import MemoryArchive, MemoryStore
from trellis_celery.stores.redis.backend import open_store as open_redis
from trellis_celery.stores.sqlalchemy import SQLAlchemyArchive, SQLAlchemyStore, schema
from trellis_celery.stores.sqlalchemy.connect import engine_for
from trellis_celery.testing.contract import builders

HOUR_MS = 3_600_000
#: So long a due query waits at the most: the tables of a million rows are read cold at first.
PATIENCE_MS = 60_000
COMMITS_IN = 3.0
ROUNDS = 5
LIVE_STEPS = (10_000, 100_000, 1_000_000)
STEPS_A_PROCESS = 1_000
HISTORY_PROCESSES = 1_000


@dataclass
class Contender:
    name: str
    open: Callable[[], ProcessStore]
    #: Bytes that everything stored takes.
    size: Callable[[], int] | None = None
    archive: Callable[[], HistoryArchive] | None = None
    #: With more it takes too long.
    most_live_steps: int = LIVE_STEPS[-1]
    rounds: int = ROUNDS
    #: For a store of which only what it is asked says anything.
    requests: Requests | None = None
    figures: dict[str, Any] = field(default_factory=dict)


# The stores


@contextmanager
def contenders(directory: Path) -> Iterator[list[Contender]]:
    with ExitStack() as stack:
        found = [Contender("memory", MemoryStore, archive=MemoryArchive)]
        for name, server in {"Redis": services.redis_server, "Valkey": services.valkey}.items():
            found.append(_redis(name, stack.enter_context(server(_made(directory / name)))))
        postgresql = stack.enter_context(databases.postgresql(_made(directory / "postgresql")))
        found.append(_sql("PostgreSQL", postgresql.url, _POSTGRESQL_SIZE, stack))
        mariadb = stack.enter_context(databases.mariadb(_made(directory / "mariadb")))
        found.append(_sql("MariaDB", mariadb.url, _MARIADB_SIZE, stack))
        found.append(_sql("SQLite", f"sqlite:///{directory}/trellis.db", _SQLITE_SIZE, stack))
        found.append(_dynamodb(stack.enter_context(services.dynamodb(_made(directory / "dynamodb")))))
        yield found


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _redis(name: str, url: str) -> Contender:
    def opened() -> ProcessStore:
        with redis.Redis.from_url(url) as client:
            client.execute_command("FLUSHALL", "SYNC")  # else it goes on while memory is measured
        return open_redis(url, Settings(url=url, store_timeout_ms=PATIENCE_MS))

    def size() -> int:
        with redis.Redis.from_url(url) as client:
            return int(client.info("memory")["used_memory"])

    return Contender(name, opened, size)


_POSTGRESQL_SIZE = (
    "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname LIKE 'trellis%' AND relkind = 'r'"
)
_MARIADB_SIZE = "SELECT sum(data_length + index_length) FROM information_schema.tables WHERE table_name LIKE 'trellis%'"
_SQLITE_SIZE = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"


def _sql(name: str, url: str, size: str, stack: ExitStack) -> Contender:
    engine = engine_for(url, timeout_ms=PATIENCE_MS)
    stack.callback(engine.dispose)

    def opened() -> ProcessStore:
        _emptied(engine)
        return SQLAlchemyStore(engine, timeout_ms=PATIENCE_MS)

    def measured() -> int:
        with engine.begin() as connection:
            if engine.dialect.name == "mariadb":
                connection.execute(text("ANALYZE TABLE trellis_processes, trellis_steps, trellis_log"))
            return int(connection.scalar(text(size)) or 0)

    return Contender(name, opened, measured, lambda: SQLAlchemyArchive(engine))


def _emptied(engine: Engine) -> None:
    databases.without_tables(engine)
    schema.migrate(engine)
    if engine.dialect.name == "sqlite":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM"))


def _dynamodb(endpoint: str) -> Contender:
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "eu-central-1"}
    client = boto3.client("dynamodb", endpoint_url=endpoint, **keys)
    tables: list[str] = []

    def opened() -> ProcessStore:
        for table in tables:
            client.delete_table(TableName=table)
        tables[:] = [f"bench-{uuid4().hex}"]
        create_tables(client, *tables, every_s=0.1)
        return DynamoDBStore(client, table=tables[0], timeout_ms=PATIENCE_MS)

    return Contender(
        "DynamoDB (moto)",
        opened,
        size=lambda: table_bytes(client, tables[0]),
        most_live_steps=100_000,  # a look takes ten seconds for each 10,000
        rounds=1,
        requests=Requests(client),
    )


# The questions


def commits_a_second(store: ProcessStore, *, batch: int) -> float:
    """Starts and completions of steps, so many in a call, one caller."""
    done, until_s, started_s = 0, time.perf_counter() + COMMITS_IN, time.perf_counter()
    while time.perf_counter() < until_s:
        process = builders.new_process(store, *(f"step-{number}" for number in range(batch)))
        created_s = time.perf_counter()
        store.create(process)
        started_s += time.perf_counter() - created_s  # the creation does not count
        for rule in (builders.start(at_ms=store.now_ms(), is_leased=True), builders.complete(at_ms=store.now_ms())):
            changes = [builders.change(process, rule, name, lease_ms=HOUR_MS) for name in process.steps]
            for outcome in store.commit(changes):
                process.steps[outcome.step.name] = outcome.step  # type: ignore[union-attr]
            done += batch
    return done / (time.perf_counter() - started_s)


def fill(store: ProcessStore, live_steps: int, known: int) -> None:
    """Bring the number of steps that have a deadline up to `live_steps`."""
    for number in range(known, live_steps, STEPS_A_PROCESS):
        steps = [
            ProcessStep(f"step-{index}", timeout_ms=HOUR_MS + number + index, external=True)
            for index in range(STEPS_A_PROCESS)
        ]
        store.create(builders.new_process(store, *steps))


def due_ms(store: ProcessStore, *, limit: int, now_ms: int, rounds: int) -> float:
    """Median time of a look for what is due, ms."""
    times = []
    for _ in range(rounds):
        started_s = time.perf_counter()
        store.due(now_ms=now_ms, limit=limit)
        times.append((time.perf_counter() - started_s) * 1000)
    return round(statistics.median(times), 3)


def bytes_a_step(store: ProcessStore, size: Callable[[], int]) -> float:
    """Processes of five steps that run, with a log, leases and deadlines and without messages."""
    before = size()
    processes = 400
    for _ in range(processes):
        steps = [ProcessStep(f"step-{number}", timeout_ms=HOUR_MS) for number in range(5)]
        process = builders.created(store, *steps)
        for name in process.steps:
            rule = builders.start(at_ms=store.now_ms(), is_leased=True)
            builders.apply(store, process, rule, name, lease_ms=HOUR_MS)
    return round((size() - before) / (processes * 5))


def history_rows_a_second(archive: HistoryArchive) -> float:
    """Processes of five steps with eleven entries in the log: seventeen rows each, in batches of 200."""
    chronicles = [_chronicle(number) for number in range(HISTORY_PROCESSES)]
    started_s = time.perf_counter()
    for first in range(0, len(chronicles), 200):
        archive.write(chronicles[first : first + 200])
    rows = sum(2 + len(each.process.steps) + len(each.events) for each in chronicles)
    return rows / (time.perf_counter() - started_s)


def _chronicle(number: int) -> Chronicle:
    store = MemoryStore()
    process: Process = builders.created(store, *(f"step-{index}" for index in range(5)))
    for name in process.steps:
        builders.apply(store, process, builders.start(at_ms=store.now_ms()), name)
        builders.apply(store, process, builders.complete(at_ms=store.now_ms()), name)
    return Chronicle(store.load(process.id), store.history(process.id), Finished(number, process.id))


def measure(contender: Contender, *, most_live_steps: int, say: Callable[[str], None]) -> None:
    figures = contender.figures
    say("commits")
    figures["commits/s, one by one"] = round(commits_a_second(contender.open(), batch=1))
    figures["commits/s, by 100"] = round(commits_a_second(contender.open(), batch=100))
    if contender.size is not None:
        say("room")
        figures["bytes a live step"] = bytes_a_step(contender.open(), contender.size)
    if contender.archive is not None:
        say("archive")
        contender.open()
        figures["history rows/s"] = round(history_rows_a_second(contender.archive()))
    store, known = contender.open(), 0
    for live_steps in LIVE_STEPS:
        if live_steps > min(contender.most_live_steps, most_live_steps):
            break
        say(f"{live_steps:,} live steps")
        fill(store, live_steps, known)
        known = live_steps
        now_ms = store.now_ms()
        for what, at_ms in {"none": now_ms, "500": now_ms + 3 * HOUR_MS}.items():
            look = f"due, {what} of {live_steps:,}"
            if contender.requests is not None:
                contender.requests.taken()
            figures[f"{look}, ms"] = due_ms(store, limit=500, now_ms=at_ms, rounds=contender.rounds)
            if contender.requests is not None:
                asked = contender.requests.taken()
                figures[f"{look}, requests"] = asked.requests // contender.rounds
                figures[f"{look}, entries read"] = asked.items_read // contender.rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--live-steps", type=int, default=LIVE_STEPS[-1], help="how many at the most")
    parser.add_argument("--only", help="the stores whose name has this in it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contenders(Path(name)) as found:
        for contender in found:
            if arguments.only is None or arguments.only.lower() in contender.name.lower():
                say = partial(_say, contender.name)
                measure(contender, most_live_steps=arguments.live_steps, say=say)
    save("stores", {contender.name: contender.figures for contender in found if contender.figures})


def _say(name: str, what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {name}: {what}", flush=True)


if __name__ == "__main__":
    main()
