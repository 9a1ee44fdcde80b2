"""A program that writes to a store behind a Sentinel until it is killed: ``python -m tests.support.cut_off URL``.

Each line is when a reply came, by the machine's monotonic clock in seconds, and the id of the process that was stored,
or nothing if the write was refused.
"""

from __future__ import annotations

import sys
import time

from tests.support.redis_forms import MASTER_NAME
from tests.support.redis_server import store_of
from trellis_celery import errors
from trellis_celery.testing.contract import builders


def main(url: str) -> None:
    with store_of(url, timeout_ms=1_000, master_name=MASTER_NAME) as store:
        while True:
            try:
                stored = store.create(builders.new_process(store))
            except errors.StoreUnavailable:
                stored = ""
            print(time.monotonic(), stored, flush=True)
            time.sleep(0.005)  # some hundreds a second are enough


if __name__ == "__main__":
    main(sys.argv[1])
