"""The column types, a part of the stored format: migrations use them too.

The trap is MySQL: its collations take texts for equal that differ in case, in trailing spaces or in how an accent is
written. Texts that must stay distinct are kept there as the bytes of their UTF-8.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Integer, LargeBinary, String, Text
from sqlalchemy.dialects.mysql import LONGBLOB, LONGTEXT
from sqlalchemy.engine import Dialect
from sqlalchemy.types import VARBINARY, TypeDecorator, TypeEngine

from trellis_celery.domain.identity import MAX_IDENTIFIER_LENGTH

MYSQL = ("mysql", "mariadb")
_BYTES_PER_CHARACTER = 4


class ExactText(TypeDecorator[str]):
    """A text of at most `length` characters that is equal to itself only, and sorted by its code points."""

    impl = String
    cache_ok = True

    def __init__(self, length: int = MAX_IDENTIFIER_LENGTH) -> None:
        self.length = length
        super().__init__(length)

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name in MYSQL:
            return dialect.type_descriptor(VARBINARY(self.length * _BYTES_PER_CHARACTER))
        collation = "C" if dialect.name == "postgresql" else None
        return dialect.type_descriptor(String(self.length, collation=collation))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        return value.encode() if value is not None and dialect.name in MYSQL else value

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


#: As many bytes as there are.
Blob = LargeBinary().with_variant(LONGBLOB(), *MYSQL)

#: A text of any length to be read by people, in whatever character set the database was made.
LongText = Text().with_variant(LONGTEXT(charset="utf8mb4"), *MYSQL)

#: SQLite counts up a primary key only if it is called INTEGER; its integers have 64 bits all the same.
CountedId = BigInteger().with_variant(Integer(), "sqlite")
