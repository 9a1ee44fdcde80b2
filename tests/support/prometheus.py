"""A real Prometheus and a real exporter."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from tests.support.cluster import ROOT
from tests.support.programs import Program, free_port, is_listening
from tests.support.services import missing
from tests.support.waiting import eventually

RULES = ROOT / "docs/grafana/alerts.yaml"


class Prometheus:
    """What a Prometheus has scraped, and which alarms ring in it."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, what: str, **query: str) -> Any:
        with urlopen(f"{self._url}/{what}?{urlencode(query)}", timeout=10) as answer:
            told = json.load(answer)
        assert told["status"] == "success"
        return told["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def values(self, expression: str) -> dict[str, float]:
        """By process type, or by nothing; what is 0 is left out."""
        found = {one["metric"].get("process_type", ""): float(one["value"][1]) for one in self.query(expression)}
        return {name: value for name, value in found.items() if value}

    def alarms(self) -> set[str]:
        """The names of those that ring."""
        return {alert["labels"]["alertname"] for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"}


@contextmanager
def prometheus(directory: Path, *exporters: int) -> Iterator[Prometheus]:
    """Scrapes exporters of one store, each second, and goes by our rules."""
    binary = shutil.which("prometheus")
    if binary is None:
        missing("there is no prometheus on the path")
    port = free_port()
    targets = [f"127.0.0.1:{exporter}" for exporter in exporters]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "trellis", "static_configs": [{"targets": targets}]}],
    }
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
    command = [
        binary,
        f"--config.file={directory / 'prometheus.yaml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    program = Program(command, name="prometheus", directory=directory)
    try:
        program.wait_until(lambda: is_listening(port))
        yield Prometheus(port)
    finally:
        program.kill()


class Exporter(Program):
    """`celery -A app trellis exporter`, at a port that is free."""

    def __init__(self, app: str, *options: str, directory: Path, env: Mapping[str, str] = {}) -> None:
        command = [sys.executable, "-m", "celery", "-A", app, "trellis", "exporter", *(options or ("--port", "0"))]
        env = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **env}
        super().__init__(command, name="exporter", directory=directory, env=env)

    def url(self) -> str:
        """Where it serves, once it does."""

        def told() -> str | None:
            found = re.search(r"http://\S+/metrics", self.output)
            return found and found[0]

        self.wait_until(told)
        return str(told())

    def port(self) -> int:
        return int(self.url().rpartition(":")[2].partition("/")[0])

    def scrape(self) -> str:
        with urlopen(self.url(), timeout=20) as answer:
            return str(answer.read().decode())

    def has(self, line: str) -> bool:
        """Whether the line is in what it serves."""
        return f"\n{line}\n" in self.scrape()

    def wait_for(self, line: str, *, within_s: float = 20) -> None:
        eventually(lambda: self.has(line), within_s=within_s, what=f"{line!r} exported")
