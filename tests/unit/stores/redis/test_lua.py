"""The scripts say in their header what they take, and know nothing of the business."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import trellis_celery.stores.redis
from trellis_celery.domain.events import EventKind
from trellis_celery.domain.process import ProcessState
from trellis_celery.domain.step import DeadlineKind, StepState

PACKAGE = Path(trellis_celery.stores.redis.__file__).parent
SCRIPTS = sorted((PACKAGE / "lua").glob("*.lua"))
TYPES = ("hash", "list", "sorted set", "string", "set")

WRITES = {"DEL", "HDEL", "HINCRBY", "HSET", "RPUSH", "SADD", "ZADD", "ZREM"}

each_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)


def _header_and_body(script: Path) -> tuple[str, str]:
    lines = script.read_text().splitlines()
    length = next(number for number, line in enumerate(lines) if not line.startswith("--"))
    body = "\n".join(line.partition("--")[0] for line in lines[length:])
    return "\n".join(lines[:length]), body


def _named(header: str, what: str) -> tuple[set[int], bool]:
    """The numbers that the header names, and whether the last one stands for all that follow."""
    found = re.findall(rf"{what}\[(\d+)(…?)\]", header)
    return {int(number) for number, _ in found}, any(open_end for _, open_end in found)


def _used(body: str, what: str) -> tuple[set[int], bool]:
    """The numbers that the body uses, and whether it computes others."""
    indexes = re.findall(rf"{what}\[([^\]]+)\]", body)
    plain = {int(index) for index in indexes if index.isdigit()}
    computed = [index for index in indexes if not index.isdigit()]
    starts = {int(number) for index in computed for number in re.findall(r"^(\d+) \+", index)}
    return plain | starts, bool(computed)


@each_script
@pytest.mark.parametrize("what", ["KEYS", "ARGV"])
def test_the_header_names_what_the_body_uses(script: Path, what: str) -> None:
    header, body = _header_and_body(script)
    named, has_open_end = _named(header, what)
    used, computes = _used(body, what)

    assert named == set(range(1, max(named) + 1)), "numbered without gaps"
    assert used <= named, "nothing is used that the header does not name"
    assert computes == has_open_end
    unused = named - used - ({max(named)} if has_open_end else set())
    assert not unused, "nothing is named that the body does not use"


@each_script
def test_the_header_gives_the_type_of_every_key(script: Path) -> None:
    header, _ = _header_and_body(script)

    for line in re.findall(r"KEYS\[\d+…?\] +(.*)", header):
        assert line.startswith(TYPES), line


@each_script
def test_the_header_says_what_the_script_does_and_returns(script: Path) -> None:
    header, _ = _header_and_body(script)

    first, *_ = header.splitlines()
    assert re.match(r"-- [A-Z].*\.$", first)
    assert "-- Returns  " in header


@each_script
def test_times_have_a_unit_in_the_header(script: Path) -> None:
    header, _ = _header_and_body(script)

    for line in header.splitlines():
        if re.search(r"\b(deadline|lease|start)\b,", line):
            assert "ms" in line, line


@each_script
def test_a_script_knows_no_business_word(script: Path) -> None:
    _, body = _header_and_body(script)
    words = {str(word) for kinds in (StepState, ProcessState, DeadlineKind, EventKind) for word in kinds}

    assert not words & set(re.findall(r"\w+", body))


@each_script
def test_a_script_never_raises_and_never_unpacks_what_users_sent(script: Path) -> None:
    _, body = _header_and_body(script)

    body = body.replace("cmsgpack.unpack(ARGV[1])", "").replace("unpack(written)", "")  # ours, and of bounded length
    body = body.replace("return redis.error_reply('NOPERM ", "")  # before the first write, see below
    assert not re.search(r"\b(error|unpack|pcall|error_reply|loadstring|cjson)\b", body)
    assert not re.search(r"\b(EXPIRE|PEXPIRE|SETEX|KEYS|SCAN|EVAL)\b'", body)


@each_script
def test_a_script_asks_for_every_right_that_it_needs_before_its_first_write(script: Path) -> None:
    _, body = _header_and_body(script)
    guard, writing = body.split("error_reply", 1)
    calls = re.compile(r"redis\.call\('(\w+)'")

    assert not set(calls.findall(guard)) & WRITES
    assert set(re.findall(r"may\('(\w+)'", guard)) == set(calls.findall(writing)) & WRITES


@each_script
def test_a_script_touches_only_the_keys_it_was_given(script: Path) -> None:
    _, body = _header_and_body(script)
    calls = re.findall(r"redis\.call\('(\w+)'(?:, ([^,)]+))?", body)

    assert calls
    for command, key in calls:
        assert command == "TIME" or key.startswith("KEYS["), (command, key)


def test_no_script_is_put_together_in_python() -> None:
    for module in PACKAGE.glob("*.py"):
        source = module.read_text()
        assert "redis.call" not in source, module
        assert not re.search(r"\.eval\(|\.script_load\(", source), module
        assert not re.search(r"_script\([^)]*\)\s*[.%+]", source), module


def test_every_script_is_used() -> None:
    source = "".join(module.read_text() for module in PACKAGE.glob("*.py"))

    assert SCRIPTS
    for script in SCRIPTS:
        assert f'_script("{script.name}")' in source
