"""Where templates are found: Flower's own, with one more entry in the navigation bar, and ours."""

from __future__ import annotations

import re
from pathlib import Path

from tornado.template import Loader, Template

from trellis_celery.flower.escaping import safely
from trellis_celery.logs import EventLogger

logger = EventLogger(__name__)

OURS = "trellis/"
_DIRECTORY = Path(__file__).parent / "templates"

_NAVBAR = "navbar.html"
#: The entry of the page "Broker", which is the last one that leads to a page of Flower in every release.
_BROKER = re.compile(r"<li\b(?:(?!</li>).)*?reverse_url\('broker'\)(?:(?!</li>).)*</li>", re.DOTALL)


class TabLoader(Loader):
    """Flower's templates; those of trellis under `trellis/`."""

    def __init__(self, root_directory: str) -> None:
        super().__init__(root_directory, namespace={"safely": safely})

    def resolve_path(self, name: str, parent_path: str | None = None) -> str:
        return name if name.startswith(OURS) else super().resolve_path(name, parent_path)

    def _create_template(self, name: str) -> Template:
        if name.startswith(OURS):
            text = (_DIRECTORY / name.removeprefix(OURS)).read_text(encoding="utf-8")
            return Template(text, name=name, loader=self, autoescape="safely")
        if name == _NAVBAR:
            return Template(with_tab((Path(self.root) / name).read_text(encoding="utf-8")), name=name, loader=self)
        return super()._create_template(name)


def with_tab(navbar: str) -> str:
    """The navigation bar with the entry "Processes", made like that of "Broker"; as it was if there is none."""
    found = _BROKER.search(navbar)
    if found is None:
        logger.warning("flower_navbar_unknown", extra={"hint": "the page Processes is at /trellis"})
        return navbar
    entry = found.group().replace("'broker'", "'trellis'").replace("Broker", "Processes")
    shown_with_trellis = f"{{% if trellis_of(handler.application.capp) is not None %}}{entry}{{% end %}}"
    imports = "{% from trellis_celery.plugin.signals import trellis_of %}"
    return f"{imports}{navbar[: found.end()]}\n{shown_with_trellis}{navbar[found.end() :]}"
