"""Headless Chromium, driven by playwright; what it complains about is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import services

CHROMIUM = Path("/usr/bin/chromium")

#: The height is that of a window; a picture may be of the whole page.
WIDE, NARROW = (1280, 800), (375, 780)


#: What the browser itself did when it went on to another page.
_GIVEN_UP = "net::ERR_ABORTED"


@dataclass
class Complaints:
    """What a browser says to the developers of a page: errors of scripts, what a policy forbade, what was not found."""

    heard: list[str] = field(default_factory=list)

    def listen_to(self, page: Any) -> None:
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.heard.append(str(error)))
        page.on("requestfailed", self._hear_of)

    def _hear_of(self, request: Any) -> None:
        if request.failure != _GIVEN_UP:
            self.heard.append(f"{request.url}: {request.failure}")

    def _hear(self, said: Any) -> None:
        if said.type in ("error", "warning"):
            self.heard.append(said.text)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; skips the test where there is none."""
    if not CHROMIUM.exists():
        services.missing(f"there is no {CHROMIUM}")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        services.missing("the package playwright is not installed")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=options)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def window(
    browser: Any, size: tuple[int, int] = WIDE, *, is_dark: bool = False, login: tuple[str, str] | None = None
) -> Iterator[Any]:
    """A page of somebody who has not been here before."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if is_dark else "light",
        reduced_motion="reduce",
        http_credentials={"username": login[0], "password": login[1]} if login else None,
    )
    context.set_default_timeout(15_000)
    try:
        yield context.new_page()
    finally:
        context.close()
