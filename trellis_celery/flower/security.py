"""Who may change what, and from where. Flower 2.0.1 has none of it, later releases have some; this holds for all.

What a browser sends on its own can be forged by any page its user visits, so a change has to come from a page of the
same origin, and a form has to bring back the token that only this origin can read.
"""

from __future__ import annotations

import os
from base64 import b64decode
from typing import Any
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError, RequestHandler

from trellis_celery.flower.problems import Problem

#: Nothing from elsewhere, no script or style within a page, no frame around it, no form that leads away.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)

_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

#: Flower lets any site read its answers if nobody has to log in. Ours name customers.
_OPENED_TO_OTHER_SITES = (
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Headers",
    "Access-Control-Allow-Methods",
)

_READ_METHODS = ("GET", "HEAD", "OPTIONS")
_LONGEST_NAME = 100


def set_headers(handler: RequestHandler) -> None:
    """What every answer of ours carries."""
    for name in _OPENED_TO_OTHER_SITES:
        handler.clear_header(name)
    for name, value in _HEADERS.items():
        handler.set_header(name, value)


def require_own_site(request: HTTPServerRequest) -> None:
    """Raise a Problem for a change that a browser asks for on behalf of another site's page.

    A browser says itself whether it is its own page that asks, also where a proxy has changed the name of the host;
    an older one says only which page asks. A program that is no browser says neither, and has to log in by itself.
    """
    if request.method in _READ_METHODS:
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    is_own = site == "same-origin" if site is not None else origin is None or _host(origin) == request.host.lower()
    if not is_own:
        raise Problem(403, "CrossSite", "a page of another site asked for this, so it was not done")


def _host(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def require_token(handler: RequestHandler) -> None:
    """Raise a Problem unless the form brings the token of its page, whether Flower asks for it or not."""
    try:
        RequestHandler.check_xsrf_cookie(handler)
    except HTTPError:
        message = "the form does not carry the token of its page: open the page again, with cookies allowed"
        raise Problem(403, "NoToken", message) from None


def why_read_only(options: Any) -> str | None:
    """Why nothing can be changed through this Flower; None if it can.

    Without a login it is as with Flower's own buttons: only if somebody has said that anyone may.
    """
    if options.read_only:
        return "This Flower was started with read_only: nothing can be changed here."
    if has_login(options) or is_open_to_all():
        return None
    return (
        "Nobody has to log in to this Flower, so nothing can be changed here. "
        "Start it with --basic-auth or --auth, or set FLOWER_UNAUTHENTICATED_API=true if anyone may."
    )


def has_login(options: Any) -> bool:
    return bool(options.basic_auth or options.auth)


def is_open_to_all() -> bool:
    return os.environ.get("FLOWER_UNAUTHENTICATED_API", "").lower() in ("1", "true", "t", "yes", "y", "on")


def actor(handler: RequestHandler, options: Any) -> str:
    """Who asks, for the log of the process: a name only if Flower has checked it."""
    name = _name(handler, options)
    return f"{name} via Flower" if name else "Flower"


def _name(handler: RequestHandler, options: Any) -> str:
    user = handler.current_user  # the address that OAuth told, or True
    if not isinstance(user, str):
        user = _name_of_basic_auth(handler.request.headers.get("Authorization", "")) if options.basic_auth else ""
    printable = "".join(character if character.isprintable() else "?" for character in user)
    return printable[:_LONGEST_NAME]


def _name_of_basic_auth(header: str) -> str:
    scheme, _, credentials = header.partition(" ")
    if scheme != "Basic":
        return ""
    try:
        return b64decode(credentials.strip()).decode().partition(":")[0]
    except ValueError:
        return ""
