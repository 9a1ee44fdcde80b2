from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import trellis_celery.flower
from tests.support import logged
from tests.unit.flower.test_gantt import HOSTILE, drawn, mark, span
from trellis_celery.domain.timeline import MarkKind, SpanKind
from trellis_celery.flower.templates import TabLoader, with_tab

TEMPLATES = sorted((Path(trellis_celery.flower.__file__).parent / "templates").glob("*.html"))


def test_the_drawing_escapes_hostile_details_wherever_it_shows_them() -> None:
    drawing = drawn(
        span(SpanKind.FAILED, 0, 5_000, detail=HOSTILE), marks=(mark(MarkKind.FAILED, 5_000, detail=HOSTILE),)
    )

    markup = TabLoader("/nowhere").load("trellis/gantt.html").generate(view=SimpleNamespace(drawing=drawing)).decode()

    assert "<script>" not in markup
    assert markup.count("&lt;script&gt;") == 4


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_template_shows_anything_raw_or_has_scripts_or_styles_of_its_own(template: Path) -> None:
    text = template.read_text()

    assert re.findall(r"\{%\s*(?:raw|autoescape)", text) == []
    assert re.findall(r"<script(?! src=)|<style|\sstyle=|\son[a-z]+=|javascript:", text) == []
    assert re.findall(r"(?:src|href)=[\"'](?:https?:)?//", text) == []


def test_the_tab_stands_behind_that_of_the_broker_and_is_there_only_with_a_trellis() -> None:
    navbar = """<ul><li class="a"><a href="{{ reverse_url('tasks') }}">Tasks</a></li>
    <li class="b"><a href="{{ reverse_url('broker') }}">Broker</a></li><li>Docs</li></ul>"""

    text = with_tab(navbar)

    assert text.index(">Broker<") < text.index("{% if trellis_of(") < text.index(">Processes<") < text.index("Docs")
    assert """<li class="b"><a href="{{ reverse_url('trellis') }}">Processes</a></li>{% end %}""" in text
    assert text.count("reverse_url('tasks')") == 1


def test_a_navigation_bar_without_a_broker_is_left_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    assert with_tab("<ul></ul>") == "<ul></ul>"
    assert logged.events(caplog) == ["flower_navbar_unknown"]
