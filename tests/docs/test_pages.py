"""README and docs keep their word: code blocks run, links lead somewhere, tables say what the code says."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool
from sybil import Document
from sybil.parsers.markdown import PythonCodeBlockParser

from trellis_celery.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted({ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("[!.]*/README.md")})
WITH_CODE = [page for page in PAGES if "```python" in page.read_text()]
SERVER_IN_DOCS = "redis://localhost:6379"
#: A block that begins with the name of a file is that module: blocks after it may import it.
FILE_NAME = re.compile(r"# (\w+)\.py\n")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", WITH_CODE, ids=_name)
def test_the_code_blocks_of_a_page_run_one_after_the_other(
    page: Path, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = page.read_text().replace(SERVER_IN_DOCS, redis_url.rpartition("/")[0])
    copy = tmp_path / page.name
    copy.write_text(text)
    document = Document.parse(str(copy), PythonCodeBlockParser())
    document.namespace["__name__"] = "page"

    with _closed_databases():
        for example in document.examples():
            example.evaluate()
            if file := FILE_NAME.match(example.parsed):
                monkeypatch.setitem(sys.modules, file[1], _module(file[1], document.namespace))

    for app in (value for value in document.namespace.values() if type(value).__name__ == "Celery"):
        app.close()


def _module(name: str, namespace: dict[str, Any]) -> ModuleType:
    module = ModuleType(name)
    vars(module).update({key: value for key, value in namespace.items() if not key.startswith("__")})
    return module


@contextmanager
def _closed_databases() -> Iterator[None]:
    """What an app has opened by its settings is closed when its program ends; here other tests follow."""
    connections: list[Any] = []

    def note(connection: Any, _record: object) -> None:
        connections.append(connection)

    event.listen(Pool, "connect", note)
    try:
        yield
    finally:
        event.remove(Pool, "connect", note)
        for connection in connections:
            connection.close()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())

    missing = [target for target in targets if not (page.parent / target).exists()]

    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_to_a_section_leads_to_its_heading(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*\.md)?#([^)]+)\)", page.read_text())

    missing = [
        f"{target}#{anchor}"
        for target, anchor in links
        if anchor not in _anchors(page if target == "" else page.parent / target)
    ]

    assert missing == []


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_the_index_leads_to_every_page_once() -> None:
    index = ROOT / "docs/README.md"
    linked = [(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#]+)\)", index.read_text())]

    of_docs = [page for page in linked if page.is_relative_to(ROOT / "docs")]
    assert sorted(of_docs) == sorted(page for page in PAGES if page.is_relative_to(ROOT / "docs") and page != index)
    assert {ROOT / "README.md", ROOT / "example_project/README.md", ROOT / "benchmarks/README.md"} <= set(linked)


def test_the_index_has_each_decision_by_its_number_and_title() -> None:
    index = (ROOT / "docs/README.md").read_text()
    listed = [
        f"# {number}. {title}" for number, title in re.findall(r"^\| (\d+) \| \[(.+)\]\(adr/", index, re.MULTILINE)
    ]

    assert listed == [page.read_text().splitlines()[0] for page in sorted(ROOT.glob("docs/adr/*.md"))]


def test_the_page_of_settings_lists_every_setting_with_its_default() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text()
    rows = dict(re.findall(r"^\| `(trellis_\w+)` \| (.+?) \|", page, re.MULTILINE))

    expected = {}
    for field in fields(Settings):
        default = field.default if field.default is not MISSING else {}
        expected[PREFIX + field.name] = "none" if default == "" else "`" + repr(default).replace("'", '"') + "`"

    assert rows == expected


def test_the_first_program_of_the_readme_is_under_thirty_lines() -> None:
    (program, *_) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)

    statements = [line for line in program.splitlines() if line.strip()]

    assert len(statements) < 30


def test_importing_the_first_program_of_the_readme_starts_no_process(redis_url: str) -> None:
    """Each worker, beat and shell imports it."""
    (program, *_) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    namespace: dict[str, Any] = {"__name__": "referrals"}

    exec(program.replace(SERVER_IN_DOCS, redis_url.rpartition("/")[0]), namespace)

    assert namespace["trellis"].list_processes() == []
    namespace["app"].close()


def test_the_readme_lists_every_extra() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    readme = (ROOT / "README.md").read_text()
    table = readme[readme.index("| extra |") :].partition("\n\n")[0]

    names = [name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]

    assert sorted(names) == sorted(declared)
