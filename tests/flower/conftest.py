"""A Flower for each way of starting it, for as long as a module of tests needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.flower.server import FlowerServer, flower

SHOP = "tests.flower.apps.shop"

#: Starts a Flower; it ends with the tests of the module.
StartFlower = Callable[..., FlowerServer]


@pytest.fixture(scope="module")
def start_flower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartFlower]:
    with ExitStack() as stack:
        yield lambda app=SHOP, *options, **how: stack.enter_context(
            flower(app, *options, directory=tmp_path_factory.mktemp("flower"), **how)
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: Any = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, FlowerServer):
                report.sections.append(("output of Flower", value.program.output[-3000:]))
    return report
