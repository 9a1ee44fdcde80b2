"""When timed-out steps were last looked for: one item."""

from __future__ import annotations

from trellis_celery.ports import LastCheck
from trellis_celery.stores.dynamodb.calls import Calls
from trellis_celery.stores.dynamodb.keys import Key
from trellis_celery.stores.dynamodb.values import packed_item, unpacked


def read_last_check(calls: Calls, key: Key) -> LastCheck:
    item = calls.get(key)
    if item is None:
        return LastCheck()
    values = unpacked(item)
    return LastCheck(values["at_ms"], values["by"], values["leases_count_from_ms"])


def write_last_check(calls: Calls, key: Key, check: LastCheck) -> None:
    content = packed_item(at_ms=check.at_ms, by=check.by, leases_count_from_ms=check.leases_count_from_ms)
    calls.call("put_item", TableName=calls.table, Item={**key.packed, **content})
