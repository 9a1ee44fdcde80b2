"""What pages and JSON API have in common: the app's `Trellis`, calls beside the event loop, headers, and who may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tornado.web import RequestHandler

from trellis_celery import errors
from trellis_celery.domain.process import Process
from trellis_celery.domain.queries import Stats
from trellis_celery.flower import look, security
from trellis_celery.flower.actions import Action, Asked, carry_out
from trellis_celery.flower.problems import Problem, problem_of
from trellis_celery.flower.reading import READ_LIMIT_S, WRITE_LIMIT_S, Desk, Recent
from trellis_celery.plugin.extension import Trellis
from trellis_celery.plugin.signals import trellis_of

T = TypeVar("T")

#: Every request of this program shares its threads, and the numbers that are dear to count.
_desk = Desk()
_recent_stats: Recent[Stats] = Recent(_desk, good_for_s=5)

_NO_TRELLIS = "this Celery app has no Trellis: make a Trellis(app) beside it, and name it with -A"


class TrellisHandler(RequestHandler):
    """Stands before a handler of Flower's in the list of bases."""

    def set_default_headers(self) -> None:
        super().set_default_headers()
        security.set_headers(self)
        self.set_header("Cache-Control", "no-store")

    def check_xsrf_cookie(self) -> None:
        """Ours first: Flower fails on an origin that is no address, and asks for none where nobody has to log in."""
        security.require_own_site(self.request)
        super().check_xsrf_cookie()

    def prepare(self) -> None:
        super().prepare()
        security.require_own_site(self.request)  # Flower 2.0.1 does not check at all

    @property
    def flower(self) -> Any:
        """Flower's application."""
        return self.application

    @property
    def flower_options(self) -> Any:
        return self.flower.options

    @property
    def trellis(self) -> Trellis:
        """Raises a Problem if the app has none."""
        trellis = trellis_of(self.flower.capp)
        if trellis is None:
            raise Problem(404, "NoTrellis", _NO_TRELLIS)
        return trellis

    def query_words(self, *, strip: bool = True) -> dict[str, str]:
        """The query of the URL as it was sent: Flower's own `get_argument` escapes it."""
        names = self.request.query_arguments
        return {name: self.get_query_arguments(name, strip=strip)[-1] for name in names}

    async def read(self, call: Callable[[Trellis], T], *, limit_s: float = READ_LIMIT_S) -> T:
        """What the call returns; what it raises becomes a Problem."""
        trellis = self.trellis
        try:
            return await _desk.run(lambda: call(trellis), limit_s=limit_s)
        except errors.TrellisError as error:
            raise problem_of(error) from error

    async def recent_stats(self, *, patience_s: float) -> Stats | None:
        """Some seconds old at the most; None if they cannot be had in time."""
        trellis = self.trellis
        try:
            return await _recent_stats.get(lambda: look.stats(trellis), patience_s=patience_s)
        except errors.TrellisError as error:
            raise problem_of(error) from error

    def require_may_act(self) -> None:
        """Raise a Problem if nothing may be changed through this Flower."""
        if (why := security.why_read_only(self.flower_options)) is not None:
            raise Problem(403, "ReadOnly", why)

    async def act(self, action: Action, asked: Asked) -> Process:
        """Carry out the action; return the process as it is then. Raises a Problem."""
        self.require_may_act()
        return await self.read(lambda trellis: carry_out(trellis, action, asked), limit_s=WRITE_LIMIT_S)
