"""What is added to Flower: routes, the tab, and the option `read_only` where Flower has none.

Flower makes its application from two module variables, `flower.urls.handlers` and `flower.urls.settings`, after the
user's app and `flowerconfig.py` were imported.
"""

from __future__ import annotations

from typing import Any

from flower import urls
from tornado.options import define, options
from tornado.routing import URLSpec
from tornado.web import url

from trellis_celery import errors
from trellis_celery.flower import api, pages
from trellis_celery.flower.assets import Assets
from trellis_celery.flower.confirm import ConfirmPage
from trellis_celery.flower.metrics import Metrics
from trellis_celery.flower.templates import TabLoader

_ID = r"([^/]+)"


def add_to_flower() -> None:
    """Raises ConfigurationError if this Flower is made in another way."""
    handlers, settings = getattr(urls, "handlers", None), getattr(urls, "settings", None)
    if not isinstance(handlers, list) or not isinstance(settings, dict) or "template_path" not in settings:
        raise errors.ConfigurationError("this release of Flower is not known: the tab needs flower>=2.0.1,<3")
    if isinstance(settings.get("template_loader"), TabLoader):
        return
    handlers[-1:-1] = _routes()  # the last is the one that finds nothing
    handlers.insert(0, _route("/metrics", Metrics))  # before Flower's own
    settings["template_loader"] = TabLoader(settings["template_path"])
    if "read_only" not in options:  # Flower 2.0.1
        define("read_only", default=False, type=bool, help="let nothing be changed in the tab Processes")


def _routes() -> list[URLSpec]:
    """`url` objects, because Flower loses the arguments of plain tuples when it has a `url_prefix`."""
    step_action = rf"/api/trellis/processes/{_ID}/steps/{_ID}/(retry|complete|fail|close)"
    return [
        _route("/trellis", pages.ListPage, "trellis"),
        _route("/trellis/incidents", pages.IncidentsPage, "trellis-incidents"),
        _route(f"/trellis/process/{_ID}", pages.ProcessPage, "trellis-process"),
        _route(f"/trellis/process/{_ID}/(cancel|retry|complete|fail|close)", ConfirmPage, "trellis-act"),
        _route("/trellis/static/([a-z.]+)", Assets, "trellis-static"),
        _route("/api/trellis/processes", api.Processes, "trellis-api"),
        _route(f"/api/trellis/processes/{_ID}", api.OneProcess),
        _route(f"/api/trellis/processes/{_ID}/(cancel)", api.Act),
        _route(step_action, api.ActOnStep),
        _route("/api/trellis/incidents", api.Incidents),
        _route("/api/trellis/stats", api.Statistics),
        _route("/api/trellis/check", api.Check),
        _route("/api/trellis/?.*", api.NotFound),
    ]


def _route(pattern: str, handler: type[Any], name: str | None = None) -> URLSpec:
    return url(pattern, handler, name=name)
