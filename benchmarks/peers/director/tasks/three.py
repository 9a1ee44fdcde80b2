"""The tasks of the workflow: each gets the payload of all."""

from __future__ import annotations

from typing import Any

from director import task
from peer import step


@task(name="first")
def first(*_: Any, **__: Any) -> None:
    step("first")


@task(name="middle")
def middle(*_: Any, payload: dict[str, int], **__: Any) -> None:
    step("middle", payload["ms"])


@task(name="last")
def last(*_: Any, **__: Any) -> None:
    step("last")
