"""What Python's driver for SQLite does not do by itself."""

from __future__ import annotations

from sqlalchemy import Connection


def begin_in_sqlite(connection: Connection, *, how: str = "BEGIN") -> None:
    """Open the transaction that the driver would open only before the first write to a row.

    Without it the first savepoint would be the transaction, and its end would commit; and each table that is made would
    be there at once.
    """
    if connection.dialect.name == "sqlite" and not getattr(connection.connection, "in_transaction", True):
        connection.exec_driver_sql(how)
