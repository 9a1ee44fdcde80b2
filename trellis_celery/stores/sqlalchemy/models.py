"""The tables. What is written in them is in `records`, what each index is for stands beside it.

The records of steps are the truth; the columns `deadline_ms` and `lease_until_ms` are an index over them, which a check
may move without changing a record. No index is over a text that users choose, for its length has no place in one: where
such a text is looked for, the index is over its digest, and the text is compared as well.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, MetaData, String, Table
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from trellis_celery.stores.sqlalchemy.types import Blob, CountedId, ExactText

#: A process id, `domain.identity.new_process_id`.
ID_LENGTH = 34
#: A BLAKE2b digest of 32 bytes in hexadecimal form.
KEY_LENGTH = 64
#: The longest name of a total.
NAME_LENGTH = 40
#: The number of the one row of `trellis_checks`.
ONLY_ROW = 1


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s",
            "uq": "%(table_name)s_%(column_0_name)s_key",
            "fk": "%(table_name)s_%(column_0_name)s_fkey",
            "pk": "%(table_name)s_pkey",
        }
    )


class Listed:
    """The columns by which processes are found and listed, in the store and in the archive."""

    id: Mapped[str] = mapped_column(ExactText(ID_LENGTH), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ExactText())
    process_type: Mapped[str] = mapped_column(ExactText())
    aggregate_type: Mapped[str] = mapped_column(ExactText())
    aggregate_id: Mapped[str] = mapped_column(ExactText())
    tenant_digest: Mapped[int] = mapped_column(BigInteger)
    type_digest: Mapped[int] = mapped_column(BigInteger)
    aggregate_digest: Mapped[int] = mapped_column(BigInteger)
    #: As in `stores.classes`.
    class_number: Mapped[int] = mapped_column(Integer)
    #: How many records count as each bit of `stores.classes`: a JSON array.
    counts: Mapped[str] = mapped_column(String(200))
    started_at_ms: Mapped[int] = mapped_column(BigInteger)
    #: JSON: whatever the team keeps with the process.
    details: Mapped[bytes] = mapped_column(Blob)


def list_indexes(table: str) -> tuple[Index, ...]:
    """One for each kind of list, newest first."""
    in_order = ("class_number", "started_at_ms", "id")
    return (
        Index(f"{table}_by_class", *in_order),
        Index(f"{table}_by_type", "type_digest", *in_order),
        Index(f"{table}_by_tenant", "tenant_digest", *in_order),
        Index(f"{table}_by_both", "tenant_digest", "type_digest", *in_order),
        Index(f"{table}_by_aggregate", "aggregate_digest", "started_at_ms", "id"),
    )


class ProcessRow(Listed, Base):
    """A process without its steps."""

    __tablename__ = "trellis_processes"

    #: The digest of the business key while the process holds it, so that no two do.
    live_key: Mapped[str | None] = mapped_column(ExactText(KEY_LENGTH), unique=True)
    #: Counts the writes of the process and its steps.
    version: Mapped[int] = mapped_column(BigInteger)
    #: While it is terminal: 1 if it was archived since its last change, else 0.
    is_archived: Mapped[int | None] = mapped_column(Integer)
    #: While it is terminal: when it was changed last, epoch ms.
    since_ms: Mapped[int | None] = mapped_column(BigInteger)
    #: The last `since_ms` it ever had: the next one is later.
    last_since_ms: Mapped[int] = mapped_column(BigInteger)
    #: While something of its log is to be relayed: when, epoch ms.
    outbox_at_ms: Mapped[int | None] = mapped_column(BigInteger, index=True)
    #: So many entries of its log have been relayed.
    relayed: Mapped[int] = mapped_column(Integer, server_default="0")
    #: Of a repository only: `Process.next_deadline_ms`. A store has the deadlines in the rows of the steps.
    next_deadline_ms: Mapped[int | None] = mapped_column(BigInteger, index=True)
    #: Of a repository only: tells the last write from others.
    token: Mapped[str | None] = mapped_column(ExactText(32))

    __table_args__ = (
        *list_indexes("trellis_processes"),
        # What waits for the archive, and what can go.
        Index("trellis_processes_by_end", "is_archived", "since_ms", "id"),
    )


class StepRow(Base):
    """The record of a step, or, under the empty name, of the process itself."""

    __tablename__ = "trellis_steps"

    process_id: Mapped[str] = mapped_column(
        ExactText(ID_LENGTH), ForeignKey("trellis_processes.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(ExactText(), primary_key=True)
    #: 0 is the process's own record; the steps follow as they were declared.
    position: Mapped[int] = mapped_column(Integer)
    version: Mapped[int] = mapped_column(BigInteger)
    #: Tells the last write from others.
    token: Mapped[str] = mapped_column(ExactText(32))
    #: `codec.dump_step`.
    record: Mapped[bytes] = mapped_column(Blob)
    deadline_ms: Mapped[int | None] = mapped_column(BigInteger, index=True)
    lease_until_ms: Mapped[int | None] = mapped_column(BigInteger, index=True)
    #: The attempt that the lease is of.
    lease_attempt: Mapped[int | None] = mapped_column(BigInteger)
    message: Mapped[bytes | None] = mapped_column(Blob)


class LogRow(Base):
    """One entry of a process's log; `id` is their order."""

    __tablename__ = "trellis_log"

    id: Mapped[int] = mapped_column(CountedId, primary_key=True, autoincrement=True)
    process_id: Mapped[str] = mapped_column(
        ExactText(ID_LENGTH), ForeignKey("trellis_processes.id", ondelete="CASCADE"), index=True
    )
    #: `codec.dump_event`.
    entry: Mapped[bytes] = mapped_column(Blob)


class TotalRow(Base):
    """A part of a total of `stores.tallies`. Writers only ever add rows, so none waits for another.

    The rows of one total are put together from time to time, see `totals.fold`; their sum stays what it is.
    """

    __tablename__ = "trellis_totals"

    id: Mapped[int] = mapped_column(CountedId, primary_key=True, autoincrement=True)
    process_type: Mapped[str] = mapped_column(ExactText())
    step_name: Mapped[str] = mapped_column(ExactText())
    name: Mapped[str] = mapped_column(ExactText(NAME_LENGTH))
    amount: Mapped[int] = mapped_column(BigInteger)


class CheckRow(Base):
    """When timed-out steps were last looked for."""

    __tablename__ = "trellis_checks"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at_ms: Mapped[int] = mapped_column(BigInteger)
    #: Who looked, as UTF-8.
    checker: Mapped[bytes] = mapped_column(Blob)
    leases_count_from_ms: Mapped[int] = mapped_column(BigInteger)


def _table(row: type[Base]) -> Table:
    return Base.metadata.tables[row.__tablename__]


#: For statements over many rows at once, which SQLAlchemy knows for tables only.
PROCESSES, STEPS = _table(ProcessRow), _table(StepRow)
