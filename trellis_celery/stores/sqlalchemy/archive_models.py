"""The tables of the archive, made to be read by people and their tools as well.

Times are epoch ms. `record` and `details` are for trellis, which reads a process back from them.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Integer
from sqlalchemy.orm import Mapped, mapped_column

from trellis_celery.stores.sqlalchemy.models import ID_LENGTH, Base, Listed, list_indexes
from trellis_celery.stores.sqlalchemy.types import Blob, ExactText, LongText

#: The longest word for a state, a clock or a kind of event.
WORD_LENGTH = 40


class ArchivedProcessRow(Listed, Base):
    """A finished process as it was when it was archived last."""

    __tablename__ = "trellis_history"

    state: Mapped[str] = mapped_column(ExactText(WORD_LENGTH))
    is_overdue: Mapped[int] = mapped_column(Integer)
    #: When it was changed last.
    finished_at_ms: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = list_indexes("trellis_history")


class ArchivedStepRow(Base):
    """A step, or, at position 0 under the empty name, the process's own record."""

    __tablename__ = "trellis_history_steps"

    process_id: Mapped[str] = mapped_column(
        ExactText(ID_LENGTH), ForeignKey("trellis_history.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(ExactText())
    state: Mapped[str] = mapped_column(ExactText(WORD_LENGTH))
    attempt: Mapped[int] = mapped_column(BigInteger)
    started_at_ms: Mapped[int | None] = mapped_column(BigInteger)
    finished_at_ms: Mapped[int | None] = mapped_column(BigInteger)
    worker: Mapped[str | None] = mapped_column(LongText)
    last_error: Mapped[str | None] = mapped_column(LongText)
    version: Mapped[int] = mapped_column(BigInteger)
    #: `codec.dump_step`.
    record: Mapped[bytes] = mapped_column(Blob)


class ArchivedEventRow(Base):
    """One entry of the log; the numbers count up from 0 for each process."""

    __tablename__ = "trellis_history_log"

    process_id: Mapped[str] = mapped_column(
        ExactText(ID_LENGTH), ForeignKey("trellis_history.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(ExactText(WORD_LENGTH))
    step_name: Mapped[str] = mapped_column(ExactText())
    attempt: Mapped[int] = mapped_column(BigInteger)
    occurred_at_ms: Mapped[int] = mapped_column(BigInteger)
    detail: Mapped[str] = mapped_column(LongText)
    #: Who did it, if somebody did it on purpose.
    by_whom: Mapped[str | None] = mapped_column(LongText)
