from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import trellis_celery
from trellis_celery import errors
from trellis_celery.bootstrap import open_archive, open_store, schemas
from trellis_celery.repositories import RepositoryStore
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


@pytest.mark.parametrize(
    ("url", "store"),
    [
        ("sqlite://", "SQLAlchemyStore"),
        ("postgresql://user:secret@127.0.0.1:1/none", "SQLAlchemyStore"),
        ("mysql+pymysql://user:secret@127.0.0.1:1/none", "SQLAlchemyStore"),
        ("dynamodb://eu-west-1/table?endpoint=http://127.0.0.1:1", "DynamoDBStore"),
    ],
)
def test_every_other_store_is_opened_without_asking_it(url: str, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")

    assert type(open_store(Settings(url=url))).__name__ == store


def test_processes_and_trackers_may_be_kept_apart() -> None:
    store = open_store(Settings(url="postgresql://127.0.0.1:1/none", tracker_url="redis://127.0.0.1:1/0"))

    assert isinstance(store, RepositoryStore)


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "memory://", "tracker_url": "postgresql://localhost/db"},
        {"url": "redis://localhost/1", "tracker_url": "redis://localhost/2"},
    ],
)
def test_a_pair_that_there_is_not_is_an_error_that_names_the_setting(settings: dict[str, str]) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"trellis_(tracker_)?url cannot be"):
        open_store(Settings(**settings))  # type: ignore[arg-type]


def test_an_archive_is_opened_where_one_is_set() -> None:
    assert open_archive(Settings(url="memory://")) is None
    assert type(open_archive(Settings(url="memory://", history_url="sqlite://"))).__name__ == "SQLAlchemyArchive"
    with pytest.raises(errors.ConfigurationError, match="trellis_history_url cannot be redis://"):
        open_archive(Settings(url="memory://", history_url="redis://localhost/1"))


@pytest.mark.parametrize(("module", "url"), [("sqlalchemy", "sqlite://"), ("boto3", "dynamodb:///table")])
def test_a_library_that_is_not_installed_is_named_with_what_to_install(module: str, url: str) -> None:
    program = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from trellis_celery.bootstrap import open_store\n"
        "from trellis_celery.errors import ConfigurationError\n"
        "from trellis_celery.settings import Settings\n"
        f"try:\n    open_store(Settings(url={url!r}))\nexcept ConfigurationError as error:\n    print(error)"
    )

    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert "pip install 'trellis-celery[" in said


def test_each_database_is_migrated_once_and_its_password_is_not_shown() -> None:
    one, other = "postgresql://user:hunter2@host/db", "postgresql://admin:hunter3@host/db"

    assert [url for url, _ in schemas(Settings(url=one, history_url=one))] == ["postgresql://**@host/db"]
    assert [url for url, _ in schemas(Settings(url=one, history_url=other))] == ["postgresql://**@host/db"] * 2
    assert schemas(Settings(url="redis://localhost/1")) == [("redis://localhost/1", None)]


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
