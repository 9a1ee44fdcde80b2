"""`exporter`: the metrics over HTTP, for Prometheus."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from trellis_celery.cli.blocks import line
from trellis_celery.cli.group import command, option
from trellis_celery.cli.output import Output
from trellis_celery.cli.visible import visible
from trellis_celery.plugin import metrics
from trellis_celery.plugin.extension import Trellis

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from trellis_celery.monitoring.prometheus import TrellisCollector

#: Nobody may hold a connection without asking for longer.
REQUEST_LIMIT_S = 10.0

_ENDS = {signal.SIGINT, signal.SIGTERM}


@command("exporter")
@option("--host", default="127.0.0.1", show_default=True, help="Where to listen; 0.0.0.0: on every address.")
@option("--port", type=click.IntRange(0, 65_535), default=9817, show_default=True, help="0: one that is free.")
def exporter(trellis: Trellis, output: Output, *, host: str, port: int) -> None:
    """Serve the metrics for Prometheus until SIGINT or SIGTERM.

    One exporter is enough for a store, whatever number of workers there are. Nobody has to log in, and nothing can be
    changed: what is seen are the names of process types and steps, and numbers.
    """
    trellis.store  # noqa: B018 - opened for its errors
    collector = metrics.collector_of(trellis)
    # Blocked before there are threads, so that a signal waits until it is asked for, and comes to nobody else.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    with _serving(collector, host, port) as url:
        if output.as_json:
            output.data({"url": url})
        else:
            output.page([line(f"Metrics are at {url} until SIGINT or SIGTERM.")])
        signal.sigwait(_ENDS)


@contextmanager
def _serving(collector: TrellisCollector, host: str, port: int) -> Iterator[str]:
    server = _listen(collector, host, port)
    try:
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()


def _listen(collector: TrellisCollector, host: str, port: int) -> WSGIServer:
    from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415 - an optional dependency

    registry = CollectorRegistry()  # of our own: what else the program counts is nobody's business here
    registry.register(collector)
    try:
        server, _ = start_http_server(port, host, registry)
    except (OSError, UnicodeError) as error:  # a host's name may be none
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        where = visible(f"{host} port {port}")
        raise click.ClickException(f"cannot listen on {where}: {why}; see --host and --port") from error
    handler: Any = server.RequestHandlerClass
    server.RequestHandlerClass = type(handler.__name__, (handler,), {"timeout": REQUEST_LIMIT_S})
    return server
