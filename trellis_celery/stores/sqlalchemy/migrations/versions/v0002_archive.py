"""The tables of the archive."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from trellis_celery.stores.sqlalchemy.types import Blob, ExactText, LongText

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _create_processes()
    _create_steps()
    _create_log()


def downgrade() -> None:
    for table in ("trellis_history_log", "trellis_history_steps", "trellis_history"):
        op.drop_table(table)


def _create_processes() -> None:
    op.create_table(
        "trellis_history",
        sa.Column("id", ExactText(34), nullable=False),
        sa.Column("tenant_id", ExactText(512), nullable=False),
        sa.Column("process_type", ExactText(512), nullable=False),
        sa.Column("aggregate_type", ExactText(512), nullable=False),
        sa.Column("aggregate_id", ExactText(512), nullable=False),
        sa.Column("tenant_digest", sa.BigInteger(), nullable=False),
        sa.Column("type_digest", sa.BigInteger(), nullable=False),
        sa.Column("aggregate_digest", sa.BigInteger(), nullable=False),
        sa.Column("class_number", sa.Integer(), nullable=False),
        sa.Column("counts", sa.String(200), nullable=False),
        sa.Column("started_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("details", Blob, nullable=False),
        sa.Column("state", ExactText(40), nullable=False),
        sa.Column("is_overdue", sa.Integer(), nullable=False),
        sa.Column("finished_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="trellis_history_pkey"),
    )
    by_start = ["class_number", "started_at_ms", "id"]
    for name, columns in {
        "by_class": by_start,
        "by_type": ["type_digest", *by_start],
        "by_tenant": ["tenant_digest", *by_start],
        "by_both": ["tenant_digest", "type_digest", *by_start],
        "by_aggregate": ["aggregate_digest", "started_at_ms", "id"],
    }.items():
        op.create_index(f"trellis_history_{name}", "trellis_history", columns)


def _create_steps() -> None:
    op.create_table(
        "trellis_history_steps",
        sa.Column("process_id", ExactText(34), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", ExactText(512), nullable=False),
        sa.Column("state", ExactText(40), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("started_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("finished_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("worker", LongText, nullable=True),
        sa.Column("last_error", LongText, nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("record", Blob, nullable=False),
        sa.PrimaryKeyConstraint("process_id", "position", name="trellis_history_steps_pkey"),
        _of_process("trellis_history_steps"),
    )


def _create_log() -> None:
    op.create_table(
        "trellis_history_log",
        sa.Column("process_id", ExactText(34), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", ExactText(40), nullable=False),
        sa.Column("step_name", ExactText(512), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("occurred_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("detail", LongText, nullable=False),
        sa.PrimaryKeyConstraint("process_id", "number", name="trellis_history_log_pkey"),
        _of_process("trellis_history_log"),
    )


def _of_process(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["process_id"], ["trellis_history.id"], ondelete="CASCADE", name=f"{table}_process_id_fkey"
    )
