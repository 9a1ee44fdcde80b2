"""moto's DynamoDB as a program: ``python -m tests.support.dynamodb_server PORT``.

moto undoes a cancelled transaction by putting a copy of the whole table back, and with it what other requests have
written meanwhile. Here one request is answered at a time, and only the items of the transaction are put back.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable
from threading import Lock
from typing import Any

from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.table import Table
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

_transact = DynamoDBBackend.transact_write_items
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


class _OneAtATime:
    def __init__(self, app: Any) -> None:
        self._app = app
        self._lock = Lock()

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        with self._lock:
            return list(self._app(environ, start_response))


def main() -> None:
    DynamoDBBackend.transact_write_items = _transact_and_undo  # type: ignore[method-assign]
    Table.__deepcopy__ = lambda self, _: self  # type: ignore[attr-defined]
    app = _OneAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", int(sys.argv[1]), app, threaded=True, request_handler=MotoRequestHandler)
    server.serve_forever()


if __name__ == "__main__":
    main()
