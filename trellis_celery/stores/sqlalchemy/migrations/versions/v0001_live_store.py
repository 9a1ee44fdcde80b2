"""The tables of the live store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from trellis_celery.stores.sqlalchemy.types import Blob, CountedId, ExactText

revision = "0001"
down_revision = None


def upgrade() -> None:
    _create_processes()
    _create_steps()
    _create_log()
    op.create_table(
        "trellis_checks",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("checker", Blob, nullable=False),
        sa.Column("leases_count_from_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="trellis_checks_pkey"),
    )


def downgrade() -> None:
    for table in ("trellis_checks", "trellis_log", "trellis_steps", "trellis_processes"):
        op.drop_table(table)


def _create_processes() -> None:
    op.create_table(
        "trellis_processes",
        sa.Column("id", ExactText(34), nullable=False),
        sa.Column("tenant_id", ExactText(512), nullable=False),
        sa.Column("process_type", ExactText(512), nullable=False),
        sa.Column("aggregate_type", ExactText(512), nullable=False),
        sa.Column("aggregate_id", ExactText(512), nullable=False),
        sa.Column("tenant_digest", sa.BigInteger(), nullable=False),
        sa.Column("type_digest", sa.BigInteger(), nullable=False),
        sa.Column("aggregate_digest", sa.BigInteger(), nullable=False),
        sa.Column("live_key", ExactText(64), nullable=True),
        sa.Column("class_number", sa.Integer(), nullable=False),
        sa.Column("counts", sa.String(200), nullable=False),
        sa.Column("started_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("details", Blob, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("is_archived", sa.Integer(), nullable=True),
        sa.Column("since_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_since_ms", sa.BigInteger(), nullable=False),
        sa.Column("next_deadline_ms", sa.BigInteger(), nullable=True),
        sa.Column("token", ExactText(32), nullable=True),
        sa.PrimaryKeyConstraint("id", name="trellis_processes_pkey"),
        sa.UniqueConstraint("live_key", name="trellis_processes_live_key_key"),
    )
    by_start = ["class_number", "started_at_ms", "id"]
    for name, columns in {
        "by_class": by_start,
        "by_type": ["type_digest", *by_start],
        "by_tenant": ["tenant_digest", *by_start],
        "by_both": ["tenant_digest", "type_digest", *by_start],
        "by_aggregate": ["aggregate_digest", "started_at_ms", "id"],
        "by_end": ["is_archived", "since_ms", "id"],
        "next_deadline_ms": ["next_deadline_ms"],
    }.items():
        op.create_index(f"trellis_processes_{name}", "trellis_processes", columns)


def _create_steps() -> None:
    op.create_table(
        "trellis_steps",
        sa.Column("process_id", ExactText(34), nullable=False),
        sa.Column("name", ExactText(512), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("token", ExactText(32), nullable=False),
        sa.Column("record", Blob, nullable=False),
        sa.Column("deadline_ms", sa.BigInteger(), nullable=True),
        sa.Column("lease_until_ms", sa.BigInteger(), nullable=True),
        sa.Column("lease_attempt", sa.BigInteger(), nullable=True),
        sa.Column("message", Blob, nullable=True),
        sa.PrimaryKeyConstraint("process_id", "name", name="trellis_steps_pkey"),
        sa.ForeignKeyConstraint(
            ["process_id"], ["trellis_processes.id"], ondelete="CASCADE", name="trellis_steps_process_id_fkey"
        ),
    )
    op.create_index("trellis_steps_deadline_ms", "trellis_steps", ["deadline_ms"])
    op.create_index("trellis_steps_lease_until_ms", "trellis_steps", ["lease_until_ms"])


def _create_log() -> None:
    op.create_table(
        "trellis_log",
        sa.Column("id", CountedId, autoincrement=True, nullable=False),
        sa.Column("process_id", ExactText(34), nullable=False),
        sa.Column("entry", Blob, nullable=False),
        sa.PrimaryKeyConstraint("id", name="trellis_log_pkey"),
        sa.ForeignKeyConstraint(
            ["process_id"], ["trellis_processes.id"], ondelete="CASCADE", name="trellis_log_process_id_fkey"
        ),
    )
    op.create_index("trellis_log_process_id", "trellis_log", ["process_id"])
