"""SQL databases, as a store or as the archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct, field

from trellis_celery.doctor import words
from trellis_celery.doctor.finding import Checks, Finding, note, ok, problem, warning

MYSQL = ("mysql", "mariadb")


class SqlFacts(Struct, frozen=True, kw_only=True):
    #: "postgresql", "mysql", "mariadb" or "sqlite".
    dialect: str
    schema_found: str | None
    schema_needed: str
    # What follows is told only where the schema is there.
    #: As the database names it.
    isolation: str = "READ COMMITTED"
    #: A standby, or somebody has set the server to read-only.
    is_read_only: bool = False
    #: MySQL: table -> its engine.
    engines: Mapping[str, str] = field(default_factory=dict)
    #: SQLite.
    journal_mode: str = "wal"
    #: Setting of the server that decides whether a commit is on disk -> its value.
    durability: Mapping[str, str] = field(default_factory=dict)
    #: "INSERT on trellis_steps", … that the user may not do.
    denied: tuple[str, ...] = ()

    @property
    def has_schema(self) -> bool:
        return self.schema_found is not None and self.schema_found >= self.schema_needed


def schema(facts: SqlFacts) -> Iterator[Finding]:
    if facts.schema_found is None:
        yield problem(
            "there are no tables of trellis",
            why="Nothing can be stored.",
            advice="celery -A … trellis migrate",
        )
    elif facts.schema_found < facts.schema_needed:
        yield problem(
            f"the tables are of schema {facts.schema_found}, this release needs {facts.schema_needed}",
            why="Reading and writing are refused, so that nothing is half understood.",
            advice="celery -A … trellis migrate, before the programs of this release start.",
        )
    elif facts.schema_found > facts.schema_needed:
        yield note(
            f"the tables are of schema {facts.schema_found}, newer than {facts.schema_needed} of this release",
            why="Migrations only add, so both releases work side by side.",
            advice="Bring this program up to the newer release.",
        )
    else:
        yield ok(f"the tables are of schema {facts.schema_found}, as this release needs them")


def isolation(facts: SqlFacts) -> Iterator[Finding]:
    if not facts.has_schema or facts.dialect == "sqlite":
        return
    if facts.isolation == "READ COMMITTED":
        yield ok("transactions are READ COMMITTED")
    elif facts.dialect in MYSQL:
        yield warning(
            f"transactions are {facts.isolation}",
            why="Locks then lie between rows as well, where others want to insert: under load writers wait for each "
            "other and deadlock, and each such call is tried again.",
            advice='create_engine(…, isolation_level="READ COMMITTED"), or let trellis_url make the engine.',
        )
    else:
        yield note(
            f"transactions are {facts.isolation}",
            why="Nothing gets lost, but writers that meet are refused and try again more often than they need to.",
            advice='create_engine(…, isolation_level="READ COMMITTED") for the engine of trellis.',
        )


def engine(facts: SqlFacts) -> Iterator[Finding]:
    if not facts.has_schema or facts.dialect not in MYSQL:
        return
    others = {table: name for table, name in facts.engines.items() if name.lower() != "innodb"}
    if others:
        yield problem(
            f"{words.several([f'{table} is {name}' for table, name in others.items()])}",
            why="Only InnoDB has transactions: a crash or an error leaves a change half written.",
            advice=" ".join(f"ALTER TABLE {table} ENGINE = InnoDB;" for table in others),
        )
    else:
        yield ok("all tables are InnoDB")


def journal(facts: SqlFacts) -> Iterator[Finding]:
    if not facts.has_schema or facts.dialect != "sqlite" or facts.journal_mode == "memory":
        return
    if facts.journal_mode == "wal":
        yield ok("journal_mode is wal")
    else:
        yield warning(
            f"journal_mode is {facts.journal_mode}",
            why="Readers and the one writer wait for each other, and calls run into their time limit.",
            advice="PRAGMA journal_mode = WAL, on a local disk: network file systems do not have it.",
        )


def durability(facts: SqlFacts) -> Iterator[Finding]:
    if not facts.has_schema:
        return
    careless = {name: value for name, value in facts.durability.items() if _is_careless(name, value)}
    if careless:
        yield warning(
            ", ".join(f"{name} = {value}" for name, value in careless.items()),
            why="A power failure of the server loses the last commits, or damages the database: steps run again, "
            "and what was started in that time is forgotten.",
            advice="Set it back to its default; docs/howto/choosing-a-store.md says what a crash can cost.",
        )
    elif facts.durability:
        yield ok("a commit is on disk: " + ", ".join(f"{name} = {value}" for name, value in facts.durability.items()))


def _is_careless(name: str, value: str) -> bool:
    good = {"innodb_flush_log_at_trx_commit": ("1",), "synchronous": ("2", "3")}  # SQLite: FULL, EXTRA
    return value not in good[name] if name in good else value == "off"


def rights(facts: SqlFacts) -> Iterator[Finding]:
    if not facts.has_schema:
        return
    if facts.is_read_only:
        yield problem(
            "the database is read-only",
            why="It is a standby, or somebody has set it so: nothing can be stored.",
            advice="Name the primary; or set the server back to reading and writing.",
        )
    elif facts.denied:
        yield problem(
            f"the user may not {words.several(facts.denied)}",
            why="Changes of steps are refused as a whole.",
            advice="GRANT SELECT, INSERT, UPDATE, DELETE on all tables trellis_* to the user.",
        )
    else:
        yield ok("the user may read and write all tables")


CHECKS: Checks[SqlFacts] = {
    "sql-schema": schema,
    "sql-rights": rights,
    "sql-isolation": isolation,
    "sql-engine": engine,
    "sql-journal": journal,
    "sql-durability": durability,
}
