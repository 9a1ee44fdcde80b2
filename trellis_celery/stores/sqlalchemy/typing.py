"""Rows and queries of any columns, as SQLAlchemy 2.1 writes them. 2.0 has other forms: import it for checkers only."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, Select

AnyRow = Row[*tuple[Any, ...]]
AnySelect = Select[*tuple[Any, ...]]
