"""Takes the pictures of the documentation: `python -m docs.images.make`, with Chromium and the extra `test`."""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.flower.browser import NARROW, WIDE, chromium, window
from tests.flower.server import ANN, BASIC_AUTH, FlowerServer, flower

HERE = Path(__file__).parent
SHOP = "tests.flower.apps.shop"

#: The process of which a worker was killed, and that came back.
RESCUED = "order-1074"


def main() -> None:
    with tempfile.TemporaryDirectory() as name, _shop(Path(name)) as server:
        process = f"/trellis/process/{server.visitor(ANN).process_id(RESCUED)}"
        with chromium() as browser:

            def take(picture: str, path: str, size: tuple[int, int] = WIDE, *, is_dark: bool = False) -> None:
                with window(browser, size, is_dark=is_dark, login=ANN) as page:
                    shoot(page, server.url + path, HERE / f"{picture}.png")

            take("list", "/trellis?order=state", (1280, 700))
            take("process", process)
            take("process-dark", process, is_dark=True)
            take("incidents", "/trellis/incidents", (1280, 560))
            take("narrow", process, NARROW)


def _shop(directory: Path) -> AbstractContextManager[FlowerServer]:
    """Without the customers whose names are markup."""
    return flower(SHOP, BASIC_AUTH, directory=directory, env={"SHOP_IS_FRIENDLY": "1"})


def shoot(page: Any, url: str, path: Path) -> None:
    page.goto(url, wait_until="networkidle")
    page.screenshot(path=str(path), animations="disabled")
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
