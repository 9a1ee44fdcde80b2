"""The systems that trellis-celery is compared with are those on the page, at exact versions, with figures for each."""

from __future__ import annotations

import ast
import json
import re

import pytest

from benchmarks.peers import environments
from benchmarks.peers.table import HERE, PEERS, Peer

PAGE = (HERE / "README.md").read_text()
FOLDERS = {peer.folder: peer for peer in PEERS}
EXACT = re.compile(r"[\w.-]+(\[[\w,]+\])?==[\d.]+")


def test_the_page_has_every_folder_and_no_other() -> None:
    assert set(re.findall(r"^\| \[(\w+)\]", PAGE, re.MULTILINE)) == set(FOLDERS)


def test_every_link_on_the_page_leads_somewhere() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", PAGE)

    assert [target for target in targets if not (HERE / target).exists()] == []


@pytest.mark.parametrize("peer", FOLDERS.values(), ids=FOLDERS)
def test_a_peer_is_installed_at_an_exact_version(peer: Peer) -> None:
    if peer.is_python and (requirements := peer.path / "requirements.txt").exists():
        assert all(EXACT.fullmatch(line) for line in requirements.read_text().split())

    assert all(re.fullmatch(r"[\d.]+", version) for version in environments.versions(peer).values())


@pytest.mark.parametrize("peer", FOLDERS.values(), ids=FOLDERS)
def test_a_program_says_in_its_head_what_it_is(peer: Peer) -> None:
    if peer.is_python:
        head = ast.get_docstring(ast.parse((peer.path / "app.py").read_text())) or ""
    else:
        head = (peer.path / "app.js").read_text().partition("*/")[0]

    assert peer.name.partition(",")[0] in head


def test_there_are_figures_for_every_peer() -> None:
    found = json.loads((HERE.parent / "results" / "peers.json").read_text())

    assert set(found["throughput"]["processes_per_s"]) == {peer.name for peer in PEERS if peer.processes}
    assert set(found["recovery_s"]) == {peer.name for peer in PEERS}
