"""What the user of a Redis store may do there."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from trellis_celery.doctor import words
from trellis_celery.doctor.finding import Checks, Finding, note, ok, problem

_HALF_WAY = (
    "A right that is missing shows only in the middle of a script, after its first writes: the step's record and the "
    "indexes then differ."
)


class RightsFacts(Struct, frozen=True, kw_only=True):
    user: str
    #: What all keys start with.
    prefix: str
    commands: tuple[str, ...]
    #: Of the commands: those that the user may not use at all.
    denied_commands: tuple[str, ...] = ()
    #: Keys of ours that the user may not write.
    denied_keys: tuple[str, ...] = ()
    #: Why neither could be found out; empty: it could.
    unknown_because: str = ""
    #: Why the server did not load a script; empty: it has loaded all.
    script_error: str = ""


def rights(facts: RightsFacts) -> Iterator[Finding]:
    if facts.denied_commands:
        yield problem(
            f"user {facts.user!r} may not use {', '.join(facts.denied_commands)}",
            why=_HALF_WAY,
            advice=f"ACL SETUSER {facts.user} {' '.join(map(_permission, facts.denied_commands))}",
        )
    if facts.denied_keys:
        yield problem(
            f"user {facts.user!r} may not write {words.several(facts.denied_keys)}",
            why=_HALF_WAY,
            advice=f"ACL SETUSER {facts.user} ~{facts.prefix}:*",
        )
    if facts.unknown_because:
        yield note(
            f"the rights of user {facts.user!r} could not be found out: {facts.unknown_because}",
            why=_HALF_WAY,
            advice=f"See that it may use {', '.join(facts.commands)} on {facts.prefix}:*",
        )
    elif not facts.denied_commands and not facts.denied_keys:
        yield ok(f"user {facts.user!r} may use all {len(facts.commands)} commands on {facts.prefix}:*")


def _permission(command: str) -> str:
    """As ACL SETUSER takes it: "+hset", "+script|load"."""
    return f"+{command.lower().replace(' ', '|')}"


def scripts(facts: RightsFacts) -> Iterator[Finding]:
    if facts.script_error:
        yield problem(
            f"the server does not load scripts: {facts.script_error}",
            why="Every change of a step is one script: nothing can be tracked.",
            advice="Permit EVAL, EVALSHA and SCRIPT LOAD, or take a server that has Lua.",
        )
    else:
        yield ok("the server has loaded every script")


CHECKS: Checks[RightsFacts] = {"redis-rights": rights, "redis-scripts": scripts}
