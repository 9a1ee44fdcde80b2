"""The outbox, totals, who did what, and classes that tell of incidents."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from trellis_celery.stores.sqlalchemy.types import CountedId, ExactText, LongText

revision = "0003"
down_revision = "0002"

#: What the numbers of classes have become.
_NEW_NUMBER = {0: 0, 1: 2, 2: 4, 3: 6, 4: 8, 5: 9, 6: 11}


def upgrade() -> None:
    op.add_column("trellis_processes", sa.Column("outbox_at_ms", sa.BigInteger(), nullable=True))
    op.add_column("trellis_processes", sa.Column("relayed", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("trellis_processes_outbox_at_ms", "trellis_processes", ["outbox_at_ms"])
    op.create_table(
        "trellis_totals",
        sa.Column("id", CountedId, autoincrement=True, nullable=False),
        sa.Column("process_type", ExactText(512), nullable=False),
        sa.Column("step_name", ExactText(512), nullable=False),
        sa.Column("name", ExactText(40), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="trellis_totals_pkey"),
    )
    op.add_column("trellis_history_log", sa.Column("by_whom", LongText, nullable=True))
    for table in ("trellis_processes", "trellis_history"):
        _renumber(table, _NEW_NUMBER)


def downgrade() -> None:
    for table in ("trellis_processes", "trellis_history"):
        _renumber(table, {new: old for old, new in _NEW_NUMBER.items()} | {1: 0, 3: 1, 5: 2, 7: 3, 10: 5})
    op.drop_column("trellis_history_log", "by_whom")
    op.drop_table("trellis_totals")
    op.drop_index("trellis_processes_outbox_at_ms", "trellis_processes")
    op.drop_column("trellis_processes", "relayed")
    op.drop_column("trellis_processes", "outbox_at_ms")


def _renumber(table: str, number_of: dict[int, int]) -> None:
    rows = sa.table(table, sa.column("class_number", sa.Integer))
    op.execute(rows.update().values(class_number=sa.case(number_of, value=rows.c.class_number, else_=0)))
