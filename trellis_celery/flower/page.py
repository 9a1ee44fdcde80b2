"""What every page of ours has: Flower's login and navigation bar, our own headers, and its errors as pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flower.views import BaseHandler
from msgspec import Struct

from trellis_celery.domain.queries import Stats
from trellis_celery.flower import look, security, wording
from trellis_celery.flower.assets import version_of
from trellis_celery.flower.counts import Counts
from trellis_celery.flower.focus import then
from trellis_celery.flower.handler import TrellisHandler
from trellis_celery.flower.look import Checks
from trellis_celery.flower.problems import Problem, problem_of

#: The script of a page asks so for the part of it that changes.
LIVE_HEADER = "X-Trellis-Live"

_NOTICE_COOKIE = "trellis_notice"
#: A page is not held up for the numbers in its head.
_STATS_PATIENCE_S = 1.0


class Head(Struct, frozen=True):
    """What stands above every page: whether anybody looks for late steps, and how much there is."""

    checks: Checks | None
    counts: Counts
    #: Why it cannot be told.
    problem: Problem | None = None


class PageHandler(TrellisHandler, BaseHandler):  # type: ignore[misc]
    @property
    def is_live(self) -> bool:
        """Only the part that changes is asked for."""
        return LIVE_HEADER in self.request.headers

    async def read_head(self) -> Head:
        """Never raises: a page says what is wrong, and shows the rest."""
        try:
            checks = await self.read(look.checks)
        except Problem as problem:
            return Head(None, Counts.of(None), problem)
        return Head(checks, Counts.of(await self._stats()))

    async def _stats(self) -> Stats | None:
        try:
            return await self.recent_stats(patience_s=_STATS_PATIENCE_S)
        except Problem:
            return None

    def show_part(self, template: str, **values: Any) -> None:
        """The whole page, or only what changes if the page's own script asks."""
        if self.is_live:
            self.set_header(LIVE_HEADER, "1")
        notice = "" if self.is_live else self.take_notice()
        self.show(f"{template}_live.html" if self.is_live else f"{template}.html", notice=notice, **values)

    def show(self, template: str, **values: Any) -> None:
        self.render(
            f"trellis/{template}",
            words=wording,
            then=then,
            asset=self._asset,
            has_themes=(Path(self.settings["static_path"]) / "js" / "theme.js").is_file(),
            refresh_ms=5_000 if self.flower_options.auto_refresh else 0,
            why_read_only=security.why_read_only(self.flower_options),
            **values,
        )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        problem = problem_of(kwargs.get("exc_info", (None, None))[1], status_code)
        if problem.status_code == 401:  # Flower asks for the password
            super().write_error(401, **kwargs)
            return
        if not hasattr(self, "_current_user"):
            self.current_user = None  # finding it out may be what failed
        self.set_status(problem.status_code)
        self.show("problem.html", problem=problem)

    def leave_notice(self, text: str) -> None:
        """For the page that is shown next."""
        path = self.reverse_url("trellis")
        self.set_signed_cookie(_NOTICE_COOKIE, text, expires_days=None, path=path, httponly=True, samesite="Strict")

    def take_notice(self) -> str:
        notice = self.get_signed_cookie(_NOTICE_COOKIE, max_age_days=1)
        if notice is None:
            return ""
        self.clear_cookie(_NOTICE_COOKIE, path=self.reverse_url("trellis"))
        return str(notice.decode(errors="replace"))

    def _asset(self, name: str) -> str:
        return f"{self.reverse_url('trellis-static', name)}?v={version_of(name)}"
