"""What is said of the rights of a store's user."""

from __future__ import annotations

from trellis_celery.doctor.finding import Level
from trellis_celery.doctor.redis_rights import RightsFacts, rights, scripts

ALL = RightsFacts(user="app", prefix="trellis", commands=("HSET", "ZADD"))


def test_a_user_with_all_rights_is_fine() -> None:
    (finding,) = rights(ALL)

    assert finding.level is Level.OK


def test_the_advice_permits_exactly_what_is_denied() -> None:
    facts = RightsFacts(
        user="app", prefix="shop", commands=("HSET", "SCRIPT LOAD"), denied_commands=("HSET", "SCRIPT LOAD"),
        denied_keys=("shop:last_check",),
    )  # fmt: skip

    commands, keys = rights(facts)

    assert (commands.level, keys.level) == (Level.PROBLEM, Level.PROBLEM)
    assert commands.advice == "ACL SETUSER app +hset +script|load"
    assert keys.advice == "ACL SETUSER app ~shop:*"


def test_rights_that_cannot_be_found_out_are_told_with_the_list_of_commands() -> None:
    facts = RightsFacts(user="app", prefix="trellis", commands=("HSET", "ZADD"), unknown_because="it is too old")

    (finding,) = rights(facts)

    assert finding.level is Level.NOTE
    assert "HSET, ZADD on trellis:*" in finding.advice


def test_a_server_that_loads_no_scripts_is_a_problem() -> None:
    (loaded,), (refused,) = (
        scripts(ALL),
        scripts(
            RightsFacts(user="app", prefix="trellis", commands=(), script_error="commit.lua: unknown command 'SCRIPT'")
        ),
    )

    assert loaded.level is Level.OK
    assert refused.level is Level.PROBLEM
    assert "commit.lua" in refused.found
