"""The page of the Python API names everything that there is, with its defaults and limits."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trellis_celery
from trellis_celery import (
    CurrentStep,
    Event,
    ProcessFilter,
    ProcessHandle,
    ProcessService,
    ProcessState,
    ProcessStepTimedOut,
    ProcessSummary,
    ProcessType,
    Step,
    StepState,
    Trellis,
    errors,
)
from trellis_celery.domain.identity import MAX_IDENTIFIER_LENGTH
from trellis_celery.domain.process import MAX_STEPS
from trellis_celery.domain.step import MAX_RETRIES
from trellis_celery.services.processes import MAX_LIMIT
from trellis_celery.stores.codec import MAX_TEXT

PAGE = (Path(__file__).parents[2] / "docs/reference/python.md").read_text()


def section(heading: str) -> str:
    """From the heading up to the next one of its rank or a higher one."""
    start = PAGE.index(f"\n{heading}\n") + len(heading) + 2
    rank = heading.partition(" ")[0]
    end = re.search(rf"^#{{2,{len(rank)}}} ", PAGE[start:], re.MULTILINE)
    return PAGE[start : start + end.start()] if end else PAGE[start:]


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return {name: each for name, each in inspect.signature(function).parameters.items() if name != "self"}


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def default_of(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return ""
    value = parameter.default
    return f"`{json.dumps(value)}`" if isinstance(value, str) else f"`{value!r}`"


def defaults_on_page(text: str) -> dict[str, str]:
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|", text, re.MULTILINE)
    return {name: default.strip() for name, default in rows}


def words(text: str) -> set[str]:
    """What stands in code, without what it is called with."""
    return {word for code in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"\w+", code)}


@pytest.mark.parametrize("name", trellis_celery.__all__)
def test_a_public_name_is_on_the_page(name: str) -> None:
    assert re.search(rf"`{name}\b", PAGE), f"docs/reference/python.md does not tell of {name}"


@pytest.mark.parametrize(
    ("heading", "function"),
    [("## `Trellis`", Trellis.__init__), ("### `start_process`", Trellis.start_process), ("### `Step`", Step.__init__)],
    ids=["Trellis", "start_process", "Step"],
)
def test_the_page_lists_every_parameter_with_its_default(heading: str, function: Callable[..., Any]) -> None:
    text = section(heading).partition("\n| method |")[0]

    listed = defaults_on_page(text)

    assert listed == {name: default_of(each) for name, each in parameters(function).items()}


def test_the_page_lists_every_keyword_of_a_process_type() -> None:
    keywords = set(parameters(ProcessType.__init_subclass__)) - {"kwargs"}

    assert set(defaults_on_page(section("### `ProcessType`"))) == keywords


def test_the_page_lists_what_people_call_on_a_trellis_and_with_what() -> None:
    text = section("## `Trellis`")
    for method in (Trellis.get_process, Trellis.find_process, Trellis.list_processes):
        assert {method.__name__, *parameters(method)} <= words(text)

    offered = {"processes", "timeouts", "history", "relay", "untracked", "settings", "store"}
    assert offered <= words(text)
    assert offered <= public(Trellis) | {"untracked"}  # the latter is made as it starts


@pytest.mark.parametrize(
    ("heading", "kind"), [("## A process", ProcessHandle), ("## `current_step`", CurrentStep)], ids=["handle", "step"]
)
def test_the_page_lists_what_can_be_asked_and_with_what(heading: str, kind: type) -> None:
    listed = words(section(heading))

    asked = {
        name for method in public(kind) if callable(getattr(kind, method)) for name in parameters(vars(kind)[method])
    }
    assert public(kind) | asked <= listed


def test_the_page_lists_what_can_be_read() -> None:
    read, event = words(section("## What can be read")), words(section("## Events"))

    for kind in (ProcessSummary, ProcessFilter):
        assert set(kind.__struct_fields__) <= read, kind
    assert {state.value for state in (*ProcessState, *StepState)} <= read
    assert set(Event.__struct_fields__) <= event
    assert {*ProcessStepTimedOut.__struct_fields__, "has_fully_timed_out", "allows_retries"} <= event


def test_the_page_lists_what_a_service_does() -> None:
    assert public(ProcessService) <= words(section("## Without Celery"))


def test_the_tree_of_errors_is_that_of_the_code() -> None:
    (tree,) = re.findall(r"```text\n(.*?)```", section("## Errors"), re.DOTALL)
    drawn = "\n".join(f"    {line}" for line in tree.strip().splitlines())
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.TrellisError)]

    assert drawn in (errors.__doc__ or "")
    assert all(kind.__name__ in tree for kind in kinds)


def test_the_limits_are_those_of_the_code() -> None:
    limits = section("## Limits")

    for number in (MAX_IDENTIFIER_LENGTH, MAX_STEPS, MAX_RETRIES, MAX_TEXT, MAX_LIMIT):
        assert f"{number:,}" in limits
