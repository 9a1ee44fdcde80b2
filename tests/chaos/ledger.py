"""What task bodies write down themselves, outside of everything that is tested: a file of SQLite."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

#: Where the task bodies find the file.
LEDGER = "TRELLIS_TEST_LEDGER"

_TABLE = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, order_id TEXT NOT NULL, step TEXT NOT NULL, attempt INTEGER NOT NULL, pid INTEGER NOT NULL,
    began_s REAL NOT NULL, ended_s REAL
)"""


class Run(NamedTuple):
    """One execution of a body. `began_s`, `ended_s`: epoch seconds; `ended_s` is None where the body was cut off."""

    order_id: str
    step: str
    attempt: int
    pid: int
    began_s: float
    ended_s: float | None


class Ledger:
    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as file:
            file.execute("PRAGMA journal_mode = WAL")
            file.execute(_TABLE)

    @classmethod
    def of_this_program(cls) -> Ledger:
        return cls(Path(os.environ[LEDGER]))

    @contextmanager
    def running(self, order_id: str, step: str, attempt: int) -> Iterator[None]:
        """Write down that a body begins, and that it has come to its end."""
        run_id = uuid4().hex
        self._write(
            "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, NULL)",
            (run_id, order_id, step, attempt, os.getpid(), time.time()),
        )
        yield
        self._write("UPDATE runs SET ended_s = ? WHERE id = ?", (time.time(), run_id))

    def runs(self) -> list[Run]:
        """All of them, by when they began."""
        with self._open() as file:
            rows = file.execute("SELECT order_id, step, attempt, pid, began_s, ended_s FROM runs ORDER BY began_s")
            return [Run(*row) for row in rows]

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        with self._open() as file:
            file.execute(statement, values)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as file:
            yield file
