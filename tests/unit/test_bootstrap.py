from __future__ import annotations

import ast
from pathlib import Path

import pytest

import trellis_celery
from trellis_celery import errors
from trellis_celery.bootstrap import open_store
from trellis_celery.settings import Settings
from trellis_celery.stores.memory import MemoryStore
from trellis_celery.stores.redis import RedisStore

PACKAGE = Path(trellis_celery.__file__).parent


def test_memory_is_a_store() -> None:
    assert isinstance(open_store(Settings(url="memory://")), MemoryStore)


@pytest.mark.parametrize(
    "url",
    ["redis://127.0.0.1:1/0", "redis+socket:///nowhere.sock", "rediss://127.0.0.1:1/0?ssl_cert_reqs=required"],
)
def test_redis_is_opened_without_asking_it(url: str) -> None:
    assert isinstance(open_store(Settings(url=url)), RedisStore)


def test_the_keys_start_with_the_prefix_that_is_set() -> None:
    store = open_store(Settings(url="redis://127.0.0.1:1/0", key_prefix="mine"))

    assert isinstance(store, RedisStore)
    assert store._keys.last_check.startswith("mine:")


def test_no_url_is_an_error_that_says_what_to_write() -> None:
    with pytest.raises(errors.ConfigurationError, match=r'app\.conf\.trellis_url = "redis://'):
        open_store(Settings())


@pytest.mark.parametrize("url", ["amqp://guest:secret@localhost//", "localhost:6379", "REDIS://localhost", "://", " "])
def test_a_url_of_another_kind_is_an_error_that_names_those_there_are(url: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"redis://.*postgresql://.*memory://") as raised:
        open_store(Settings(url=url))

    assert "secret" not in str(raised.value)


def test_only_one_module_asks_this_machine_for_the_time_of_day() -> None:
    asking = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and _is_wall_clock(node)
    }

    assert asking == {"domain/machine_clock.py"}


def _is_wall_clock(node: ast.Attribute) -> bool:
    owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
    return (owner, node.attr) in {
        ("time", "time"),
        ("time", "time_ns"),
        ("datetime", "now"),
        ("datetime", "utcnow"),
        ("datetime", "today"),
        ("date", "today"),
    }
