"""What goes into the package: the project's own files, and nothing that happens to lie beside them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path, PurePosixPath

import pytest

from tests.support.cluster import ROOT

pytestmark = pytest.mark.fault("X12")

#: What somebody may have lying around, and has not told git to overlook.
STRAY = (
    ".env",
    "secrets.json",
    "id_rsa",
    "server.pem",
    "dump.rdb",
    "trellis_celery/.env",
    "trellis_celery/settings.json",
    "trellis_celery/flower/static/key.pem",
    "tests/support/store.sqlite",
    "tests/.netrc",
    "docs/notes.txt",
)
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".*cache", ".hypothesis", "__pycache__", "dist", "build")
_SECRET = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s|AKIA[0-9A-Z]{16}|gh[pousr]_\w{36}|xox[bp]-\w{10}|pypi-\w{16}|=hunter2"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where wheel and sdist are, made of a copy of this tree with stray files in it."""
    directory = tmp_path_factory.mktemp("package")
    tree = directory / "tree"
    shutil.copytree(ROOT, tree, ignore=_LEFT_OUT)
    for name in STRAY:
        (tree / name).write_text("PASSWORD=hunter2")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", directory], cwd=tree, check=True, timeout=60)
    return directory


@pytest.fixture(scope="module")
def wheel(built: Path) -> dict[str, bytes]:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def sdist(built: Path) -> dict[str, bytes]:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        files = {member.name.partition("/")[2]: archive.extractfile(member) for member in archive if member.isfile()}
        return {name: file.read() for name, file in files.items() if file is not None}


def test_x12_the_wheel_has_the_package_and_nothing_else(wheel: dict[str, bytes]) -> None:
    ours = {name for name in wheel if ".dist-info/" not in name}

    files = [path for path in (ROOT / "trellis_celery").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert ours == {path.relative_to(ROOT).as_posix() for path in files}
    assert {PurePosixPath(name).suffix for name in ours} == {".py", ".lua", ".html", ".css", ".js", ".svg", ".typed"}


def test_x12_the_sdist_has_what_is_needed_to_build_and_test_it_and_no_stray_file(sdist: dict[str, bytes]) -> None:
    assert not set(STRAY) & set(sdist)
    assert [name for name in sdist if any(part.startswith(".") for part in PurePosixPath(name).parts)] == [".gitignore"]
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert {name for name in set(listed.splitlines()) - set(sdist) if not name.startswith(".ci/")} == set()


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_x12_no_file_of_the_package_holds_a_secret(request: pytest.FixtureRequest, kind: str) -> None:
    files: dict[str, bytes] = request.getfixturevalue(kind)

    assert [name for name, content in files.items() if _SECRET.search(content)] == [
        name for name in files if name == "tests/faults/test_security_package.py"
    ]


def test_x12_who_installs_it_gets_three_libraries_and_what_these_need(wheel: dict[str, bytes]) -> None:
    (metadata,) = (content for name, content in wheel.items() if name.endswith("/METADATA"))

    required = Parser().parsestr(metadata.decode()).get_all("Requires-Dist") or []
    assert {re.split(r"[^\w-]", one)[0] for one in required if "extra ==" not in one} == {"celery", "redis", "msgspec"}
