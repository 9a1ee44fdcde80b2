"""What the user of a store may do, without doing it.

The server judges rights when a command is queued in a transaction, and the transaction is then discarded: that shows
what is denied, on every release, to a user without any right to ask for rights. One who may not queue asks in a
script, where the server can say it since Redis 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from importlib.resources import files
from typing import Any

from msgspec import Struct
from redis.exceptions import NoPermissionError, ResponseError

from trellis_celery.doctor.redis_rights import RightsFacts
from trellis_celery.stores.redis.connect import is_cluster
from trellis_celery.stores.redis.translate import REDIS_ERRORS

#: Every command on a key that the stores and their scripts use, with arguments that it could have.
KEYED: dict[str, tuple[str, ...]] = {
    "DEL": (),
    "EXISTS": (),
    "HDEL": ("field",),
    "HEXISTS": ("field",),
    "HGET": ("field",),
    "HGETALL": (),
    "HINCRBY": ("field", "1"),
    "HKEYS": (),
    "HLEN": (),
    "HMGET": ("field",),
    "HSET": ("field", "value"),
    "LLEN": (),
    "LRANGE": ("0", "0"),
    "RPUSH": ("value",),
    "SADD": ("value",),
    "SCARD": (),
    "SMEMBERS": (),
    "ZADD": ("0", "value"),
    "ZCARD": (),
    "ZCOUNT": ("0", "0"),
    "ZLEXCOUNT": ("-", "+"),
    "ZRANGE": ("0", "0"),
    "ZRANGEBYSCORE": ("0", "0"),
    "ZREM": ("value",),
    "ZREVRANGEBYLEX": ("+", "-"),
    "ZSCORE": ("value",),
}
#: Those on no key.
KEYLESS: dict[str, tuple[str, ...]] = {
    "EVALSHA": ("0" * 40, "0"),
    "SCRIPT LOAD": ("return 1",),
    "TIME": (),
}
COMMANDS = (*KEYED, *KEYLESS)

#: 1: permitted, 0: denied, -1: this release cannot tell.
_ASK = "return redis.acl_check_cmd and (redis.acl_check_cmd(unpack(ARGV)) and 1 or 0) or -1"


class _Denied(Enum):
    #: The command as such.
    COMMAND = auto()
    #: The command would be permitted, but not on this key.
    KEY = auto()


class _Call(Struct, frozen=True):
    """A command as it would be sent."""

    command: str
    #: Empty: it is on none.
    key: str
    words: tuple[str, ...]


_Denials = Sequence[_Denied | None]


def ask(client: Any, *, prefix: str) -> RightsFacts:
    """Raises RedisError if the server does not answer."""
    calls = _calls(prefix)
    denials, unknown_because = _denials(client, calls)
    denied = [(call, denial) for call, denial in zip(calls, denials, strict=False) if denial]
    commands = {call.command for call, denial in denied if denial is _Denied.COMMAND}
    return RightsFacts(
        user=_user(client),
        prefix=prefix,
        commands=COMMANDS,
        denied_commands=tuple(name for name in COMMANDS if name in commands),
        denied_keys=tuple(dict.fromkeys(call.key for call, denial in denied if denial is _Denied.KEY)),
        unknown_because=unknown_because,
        script_error=_load_scripts(client),
    )


def _calls(prefix: str) -> list[_Call]:
    """Every command on a key of each form that keys have."""
    keys = (f"{prefix}:last_check", f"{prefix}:{{0}}:deadlines", f"{prefix}:{{0}}:process:0-{'0' * 32}")
    return [
        *(_Call(command, "", (*command.split(), *arguments)) for command, arguments in KEYLESS.items()),
        *(_Call(command, key, (command, key, *arguments)) for command, arguments in KEYED.items() for key in keys),
    ]


def _denials(client: Any, calls: Sequence[_Call]) -> tuple[_Denials, str]:
    """What is denied of each call; or nothing, and why that could not be found out."""
    queued = _queue(client, calls)
    return _ask_in_script(client, calls) if queued is None else (queued, "")


def _queue(client: Any, calls: Sequence[_Call]) -> _Denials | None:
    """None: the user may not queue calls at all."""
    connection = _new_connection(client)
    try:
        connection.connect()
        words = [("MULTI",), *(call.words for call in calls), ("DISCARD",)]
        connection.send_packed_command(connection.pack_commands(words))
        transaction, *denials, _ = [_read(connection) for _ in words]
    finally:
        connection.disconnect()
    return None if transaction else denials


def _new_connection(client: Any) -> Any:
    node = client
    if is_cluster(client):
        nodes: Any = client
        node = nodes.get_redis_connection(nodes.get_primaries()[0])
    return node.connection_pool.make_connection()


def _read(connection: Any) -> _Denied | None:
    """None for any reply that is no denial, such as those of a full server or of a cluster's wrong node."""
    try:
        connection.read_response()
    except NoPermissionError as error:  # "… to access a key", or "… to run the 'hset' command"
        return _Denied.KEY if "to access" in str(error) else _Denied.COMMAND
    except ResponseError:
        pass
    return None


def _ask_in_script(client: Any, calls: Sequence[_Call]) -> tuple[_Denials, str]:
    may = client.register_script(_ASK)
    try:
        answers = [may(args=call.words) for call in calls]
    except REDIS_ERRORS as error:
        return (), str(error)
    if -1 in answers:
        return (), "before Redis 7 only users who may use MULTI can see it"
    permitted = {call.command for call, answer in zip(calls, answers, strict=True) if answer}
    if not permitted & KEYED.keys():  # all of them on every key: then it is the keys
        permitted |= KEYED.keys()
    kinds = [_Denied.KEY if call.command in permitted else _Denied.COMMAND for call in calls]
    return [None if answer else kind for kind, answer in zip(kinds, answers, strict=True)], ""


def _user(client: Any) -> str:
    try:
        return str(client.acl_whoami())
    except REDIS_ERRORS:
        return "?"


def _load_scripts(client: Any) -> str:
    """Why a script could not be loaded; what is loaded is what the store would load."""
    for script in sorted((files("trellis_celery.stores.redis") / "lua").iterdir(), key=lambda path: path.name):
        try:
            client.script_load(script.read_text(encoding="utf-8"))
        except REDIS_ERRORS as error:
            return f"{script.name}: {error}"
    return ""
