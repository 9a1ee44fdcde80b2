from __future__ import annotations

import sys

import pytest

from trellis_celery.cli import output
from trellis_celery.cli.blocks import Tone, line
from trellis_celery.cli.output import Output


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_a_pipe_gets_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert not Output().is_rich

    Output().page([line("failed", Tone.BAD)])

    assert capsys.readouterr().out == "failed\n"


@pytest.mark.usefixtures("terminal")
def test_a_terminal_gets_colours() -> None:
    assert Output().is_rich


@pytest.mark.usefixtures("terminal")
def test_a_terminal_gets_plain_text_where_rich_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "find_spec", lambda name: None)

    assert not Output().is_rich


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("name", ["dumb", "unknown"])
def test_a_terminal_that_can_nothing_gets_plain_text(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("TERM", name)

    assert not Output().is_rich


@pytest.mark.usefixtures("terminal")
def test_json_stays_json_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert not Output(as_json=True).is_rich

    Output(as_json=True).data({"text": "a\x9b\n"})

    assert capsys.readouterr().out == '{"text":"a\\u009b\\n"}\n'


def test_a_remark_is_in_nobodys_way(capsys: pytest.CaptureFixture[str]) -> None:
    Output().say("there is \x1b[2Jmore")

    assert capsys.readouterr() == ("", "there is ?[2Jmore\n")
