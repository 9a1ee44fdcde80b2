"""An environment for each peer, made when it is first needed, and made anew when what it requires has changed.

A peer without requirements runs in the environment of the benchmark: trellis-celery and plain Celery have to differ in
nothing but trellis.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.table import HERE, Peer

ENVS = HERE / ".envs"


def interpreter(peer: Peer) -> Path:
    """What runs the peer's program, with all that it requires installed."""
    if not peer.is_python:
        _install(peer, "package.json")
        return Path(shutil.which("node") or "node")
    if not (peer.path / "requirements.txt").exists():
        return Path(sys.executable)
    _install(peer, "requirements.txt")
    return _env(peer) / "bin" / "python"


def variables(peer: Peer) -> dict[str, str]:
    """Where a program in Node finds its packages."""
    return {} if peer.is_python else {"NODE_PATH": str(_env(peer) / "node_modules")}


def versions(peer: Peer) -> dict[str, str]:
    """What the peer requires beside what is here anyway."""
    if not peer.is_python:
        found: dict[str, str] = json.loads((peer.path / "package.json").read_text())["dependencies"]
        return found
    requirements = peer.path / "requirements.txt"
    lines = requirements.read_text().split() if requirements.exists() else []
    return dict(line.split("==") for line in lines)


def _env(peer: Peer) -> Path:
    return ENVS / peer.folder


def _install(peer: Peer, requirements: str) -> None:
    env, wanted = _env(peer), (peer.path / requirements).read_text()
    stamp = env / f"installed-{requirements}"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"installing {peer.name}", flush=True)
    shutil.rmtree(env, ignore_errors=True)
    if peer.is_python:
        base = Path(sys.base_prefix) / "bin" / "python3"
        _run(base, "-m", "venv", "--without-pip", env)
        _run(base, "-m", "pip", "--python", env / "bin/python", "install", "--quiet", "-r", peer.path / requirements)
    else:
        env.mkdir(parents=True)
        shutil.copy(peer.path / requirements, env)
        _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", env)
    stamp.write_text(wanted)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)
