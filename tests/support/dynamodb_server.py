"""moto's DynamoDB as a program: ``python -m tests.support.dynamodb_server PORT``.

moto undoes a cancelled transaction by putting a copy of the whole table back, and with it what other requests have
written meanwhile. Here one request is answered at a time, and only the items of the transaction are put back.

For each query moto sorts all items of the table before it looks for those that are meant, which it sorts again. Here it
only looks at those with the right partition key, so a test takes seconds where it would take minutes.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from inspect import signature
from threading import Lock
from typing import Any

from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType, Item
from moto.dynamodb.models.table import Table
from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server
from werkzeug.test import run_wsgi_app

_transact = DynamoDBBackend.transact_write_items
_query = Table.query
_QUERY = signature(_query)
_Place = tuple[str, dict[str, Any]]


def _place(table: Table, key: dict[str, Any]) -> dict[str, Any]:
    return {name: key[name] for name in (table.hash_key_attr, table.range_key_attr) if name}


def _transact_and_undo(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
    places: list[_Place] = []
    for write in transact_items:
        (operation,) = write.values()
        table = self.get_table(operation["TableName"])
        places.append((operation["TableName"], _place(table, operation.get("Key") or operation["Item"])))
    before = [copy.deepcopy(self.get_item(name, key)) for name, key in places]
    try:
        _transact(self, transact_items)
    except Exception:
        for (name, key), item in zip(places, before, strict=True):
            self.delete_item(name, key)
            if item is not None:
                self.get_table(name).put_item(item.to_json()["Attributes"])
        raise


def _query_of_partition(self: Table, *given: Any, **named: Any) -> Any:
    asked = _QUERY.bind(self, *given, **named).arguments
    if asked["index_name"] is None:
        found = list(self.items.get(asked["hash_key"], {}).values())
    else:
        conditions = dict(asked["hash_key_conditions"])
        found = [item for item in _all_items(self) if _meets(item, conditions)]
    # Only as long as this request is answered.
    self.all_items = lambda: found  # type: ignore[method-assign]
    try:
        return _query(self, *given, **named)
    finally:
        del self.all_items


def _all_items(table: Table) -> Iterator[Item]:
    for partition in table.items.values():
        yield from partition.values()


def _meets(item: Item, conditions: dict[str, DynamoType]) -> bool:
    return all(name in item.attrs and item.attrs[name].value == key.value for name, key in conditions.items())


class _Handler(MotoRequestHandler):
    """Keeps a client's connection, which werkzeug's own closes after each answer: a fifth of a test's time."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    _one_at_a_time = Lock()

    def run_wsgi(self) -> None:
        with self._one_at_a_time:
            parts, status, headers = run_wsgi_app(self.server.app, self.make_environ())
        body = b"".join(parts)
        self.send_response_only(int(status.split()[0]))
        for name, value in (("Date", self.date_time_string()), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    DynamoDBBackend.transact_write_items = _transact_and_undo  # type: ignore[method-assign]
    Table.query = _query_of_partition  # type: ignore[method-assign]
    Table.__deepcopy__ = lambda self, _: self  # type: ignore[attr-defined]
    app = create_backend_app("dynamodb")
    server = make_server("127.0.0.1", int(sys.argv[1]), app, threaded=True, request_handler=_Handler)
    server.serve_forever()


if __name__ == "__main__":
    main()
