"""Real `celery -A … flower` programs, and who asks them."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.support.programs import Program, free_port, is_listening

ROOT = Path(__file__).parents[2]

ANN = ("ann", "a secret")
BASIC_AUTH = f"--basic-auth={ANN[0]}:{ANN[1]}"


@dataclass
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def data(self) -> Any:
        return json.loads(self.body)

    def token(self) -> str:
        """The token in the page's form."""
        found = re.search(r'name="_xsrf" value="([^"]+)"', self.text)
        assert found, f"no form with a token in this page of status {self.status}"
        return found[1]


@dataclass
class Visitor:
    """Somebody who keeps the cookies and follows no redirects."""

    port: int
    prefix: str = ""
    login: tuple[str, str] | None = None
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, headers: Mapping[str, str] = {}, **query: str) -> Answer:
        return self.ask("GET", f"{path}?{urlencode(query)}" if query else path, headers=headers)

    def post_form(self, path: str, form: Mapping[str, str], headers: Mapping[str, str] = {}) -> Answer:
        content_type = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.ask("POST", path, urlencode(form).encode(), {**content_type, **headers})

    def post_json(self, path: str, data: Any = None, headers: Mapping[str, str] = {}) -> Answer:
        body = b"" if data is None else json.dumps(data).encode()
        return self.ask("POST", path, body, {"Content-Type": "application/json", **headers})

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = {}) -> Answer:
        all_headers = dict(headers)
        if self.cookies:
            all_headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if self.login:
            all_headers.setdefault("Authorization", basic(*self.login))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, self.prefix + path, body, all_headers)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        finally:
            connection.close()
        for header in answer.headers.get_all("Set-Cookie", []):
            for name, morsel in SimpleCookie(header).items():
                self.cookies[name] = morsel.value
                if not morsel.value:
                    del self.cookies[name]
        return answer

    def process_id(self, aggregate_id: str) -> str:
        """Told by the list, which is there for everybody who may look."""
        page = self.get("/trellis", aggregate_id=aggregate_id)
        found = re.search(r"/trellis/process/([0-9a-f-]+)", page.text)
        assert found, f"{aggregate_id} is not in the list: {page.status}"
        return found[1]


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@dataclass
class FlowerServer:
    program: Program
    port: int
    prefix: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    def visitor(self, login: tuple[str, str] | None = None) -> Visitor:
        return Visitor(self.port, self.prefix, login)


@contextmanager
def flower(
    app: str, *options: str, directory: Path, prefix: str = "", env: Mapping[str, str] = {}
) -> Iterator[FlowerServer]:
    """A Flower for the app, once it answers."""
    port = free_port()
    prefixed = (f"--url-prefix={prefix}",) if prefix else ()
    program = Program(
        [sys.executable, "-m", "celery", "-A", app, "flower", f"--port={port}", "--address=127.0.0.1",
         "--inspect-timeout=100", *prefixed, *options],
        name=f"flower-{port}",
        directory=directory,
        env={**_without_flower_settings(), "PYTHONPATH": str(ROOT), **env},
    )  # fmt: skip
    try:
        program.wait_until(lambda: is_listening(port), within_s=60)
        yield FlowerServer(program, port, prefix)
    finally:
        program.stop()


def _without_flower_settings() -> dict[str, str]:
    """What a developer's own environment says about Flower counts for nothing here."""
    return {name: "" for name in os.environ if name == "FLOWER_UNAUTHENTICATED_API"}
