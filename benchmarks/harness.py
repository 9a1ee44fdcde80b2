"""What the scripts share: servers and workers as in the tests, sizes to choose from, and a place for the results."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import redis

from tests.support import services
from tests.support.cluster import Cluster

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"

__all__ = [
    "Broker",
    "Cluster",
    "Figures",
    "Server",
    "Size",
    "answer",
    "cluster",
    "save",
    "say",
    "server",
    "server_version",
]

Server = Literal["redis", "valkey"]
Broker = Literal["redis", "rabbitmq"]
Figures = dict[str, Any]


# Servers


@contextmanager
def server(kind: Server = "redis") -> Iterator[str]:
    """The URL of a server of our own that keeps nothing; of a Valkey where there is no `redis-server`."""
    start = services.redis_server if kind == "redis" and shutil.which("redis-server") else services.valkey
    with tempfile.TemporaryDirectory() as directory, start(Path(directory)) as url:
        yield url


@contextmanager
def cluster(app_module: str, *, store: Server = "redis", broker: Broker = "redis") -> Iterator[Cluster]:
    """An app on a store and a broker of its own; everything is gone afterwards."""
    with tempfile.TemporaryDirectory() as name, server(store) as store_url, _broker(broker, Path(name)) as broker_url:
        with closing(Cluster(app_module, redis_url=store_url, broker_url=broker_url, directory=Path(name))) as made:
            yield made


@contextmanager
def _broker(kind: Broker, directory: Path) -> Iterator[str]:
    if kind == "redis":
        with server() as url:
            yield f"{url}/0"
    else:
        with services.rabbitmq(directory) as url:
            yield url


def server_version(url: str) -> str:
    with redis.Redis.from_url(url) as client:
        info: Any = client.info("server")
    return f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"


# Results


class Size(NamedTuple):
    """How much of something there is in a run."""

    usual: int
    quick: int


def answer(question: str, measure: Callable[..., Figures], **sizes: Size) -> None:
    """Run a script: `measure` is called with the sizes that the command line asks for, and its figures are kept."""
    parser = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it runs, not what it costs")
    for name, size in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=f"{size.usual:,} if not given")
    given = vars(parser.parse_args())
    chosen = {name: given[name] or (size.quick if given["quick"] else size.usual) for name, size in sizes.items()}
    is_small = any(chosen[name] < size.usual for name, size in sizes.items())
    save(question, {"is_small": is_small, "sizes": chosen, **measure(**chosen)})


def say(text: str) -> None:
    print(f"  {text}", flush=True)


def save(question: str, figures: Figures) -> None:
    """Print the figures and keep them with what they belong to."""
    versions = {name: version(name) for name in ("celery", "kombu", "redis", "trellis-celery")}
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    found = {
        "question": question,
        "measured_on": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {system}",
        "python": platform.python_version(),
        **versions,
        **figures,
    }
    path = RESULTS / f"{question}.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    for line in _lines(figures):
        print(f"  {line}")
    print(f"written to {path.relative_to(ROOT)}")


def _lines(figures: Mapping[str, Any], of: str = "") -> Iterator[str]:
    for name, figure in figures.items():
        if not isinstance(figure, Mapping):
            yield f"{of}{name}: {figure}"
        elif "q1" in figure:
            yield f"{of}{name}: {figure['median']} ({figure['q1']}–{figure['q3']})"
        else:
            yield from _lines(figure, f"{of}{name}, ")
