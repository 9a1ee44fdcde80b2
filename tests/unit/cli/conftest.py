"""The shell over a store in memory: no server, no subprocess."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.bin.base import CLIContext
from click.testing import CliRunner, Result

from tests.unit.cli.pages import Shop
from trellis_celery import Trellis
from trellis_celery.cli import trellis as group

_SEPARATE = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


class Shell:
    """Types commands of an app whose store is the shop's."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.app = Celery("shop", set_as_current=False, broker="memory://")
        self.trellis = Trellis(self.app, store=shop.store)

    def __call__(self, *arguments: str) -> Result:
        context = CLIContext(app=self.app, no_color=False, workdir=None)
        return CliRunner(**_SEPARATE).invoke(group, arguments, obj=context, prog_name="celery trellis")

    def json(self, *arguments: str) -> list[Any]:
        """The lines of JSON that a command prints."""
        result = self(*arguments, "--json")
        assert result.exit_code == 0, result.stderr
        return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def shell(shop: Shop) -> Iterator[Shell]:
    shell = Shell(shop)
    yield shell
    shell.app.close()
