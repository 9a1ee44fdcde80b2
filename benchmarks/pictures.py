"""The pictures of `docs/explanation/performance.md`: what each shows, in words and drawn.

Drawing is done on axes that `benchmarks.drawing` hands in, so that words cost nothing of matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Found = dict[str, Any]

BLUE, ORANGE, GREY = "#3b82c4", "#c9751e", "#8b949e"
KINDS = {
    "process": BLUE,
    "log": "#2a9d8f",
    "deadlines": ORANGE,
    "leases": "#b5569b",
    "index": "#8a7bd1",
    "live": "#6f9a3b",
    "the rest": GREY,
}


@dataclass(frozen=True)
class Picture:
    title: str
    #: Whose result it shows.
    script: str
    #: With the figures: the text for those who do not see it.
    describe: Callable[[Any], str]
    draw: Callable[[Any, Any], None]
    height: float = 2.8


# Throughput

_WORKERS = {
    "no-op, Redis": "no-op",
    "no-op, Redis, one core": "no-op, one core",
    "10 ms, Redis": "10 ms",
    "no-op, RabbitMQ": "no-op, RabbitMQ",
}
_WAYS = {"tracked": ("tracked", BLUE), "announced": ("with Celery's events", ORANGE)}


def _describe_tasks(found: Any) -> str:
    rows = [
        f"{label}: " + ", ".join(f"{_WAYS[kind][0]} {share['median']:.2f}" for kind, share in _shares(found, name))
        for label, name in _WORKERS.items()
    ]
    return f"Tasks a second beside plain Celery, which is 1. {'; '.join(rows)}."


def _shares(found: Any, name: str) -> list[tuple[str, Any]]:
    return [
        (kind, found[name]["throughput_to_plain"][kind]) for kind in _WAYS if kind in found[name]["throughput_to_plain"]
    ]


def _draw_tasks(found: Any, axes: Any) -> None:
    for row, name in enumerate(_WORKERS.values()):
        for kind, share in _shares(found, name):
            label, color = _WAYS[kind]
            place = row + (0.14 if kind == "announced" else -0.14)
            axes.plot([share["q1"], share["q3"]], [place, place], color=color, linewidth=6, alpha=0.4)
            axes.plot(share["median"], place, "o", color=color, markersize=7, label=label if row == 0 else None)
            axes.annotate(
                f"{share['median']:.2f}", (share["q3"], place), (8, -4), textcoords="offset points", color=color
            )
    axes.axvline(1, color=GREY, linewidth=1)
    axes.set_yticks(range(len(_WORKERS)), list(_WORKERS))
    axes.set_ylim(len(_WORKERS) - 0.5, -0.5)
    axes.set_xlim(0, 1.15)
    axes.set_xlabel("tasks a second, plain Celery = 1")


# Memory of workers


def _describe_leaks(found: Any) -> str:
    ends = [f"{kind} from {looks[0]:.0f} to {looks[-1]:.0f} MiB" for kind, looks in found["mib"].items()]
    return f"Memory of two workers over {found['sizes']['tasks']:,} tasks each: {', '.join(ends)}."


def _draw_leaks(found: Any, axes: Any) -> None:
    for kind, color in (("plain", GREY), ("tracked", BLUE)):
        looks = found["mib"][kind]
        tasks = [found["sizes"]["tasks"] * (place + 1) / len(looks) for place in range(len(looks))]
        axes.plot(tasks, looks, color=color, linewidth=2, label=kind)
    axes.set_ylim(0, max(max(looks) for looks in found["mib"].values()) * 1.15)
    axes.set_xlabel("tasks")
    axes.set_ylabel("MiB, resident")
    axes.xaxis.set_major_formatter("{x:,.0f}")


# Sizes

_SIZED = {"idle check": ("a check with nothing due", "to 10000", BLUE), "commit": ("a commit", "to 1000", ORANGE)}


def _describe_sizes(found: Any) -> str:
    rows = [
        f"{label}: "
        + ", ".join(f"{float(us['median']):,.0f} µs with {int(size):,}" for size, us in found[name]["us"].items())
        for name, (label, _, _) in _SIZED.items()
    ]
    return f"Time by the number of live steps. {'; '.join(rows)}."


def _draw_sizes(found: Any, axes: Any) -> None:
    for name, (label, _, color) in _SIZED.items():
        us = found[name]["us"]
        sizes = [int(size) for size in us]
        axes.plot(sizes, [each["median"] for each in us.values()], "o-", color=color, linewidth=2, label=label)
        axes.fill_between(
            sizes, [each["q1"] for each in us.values()], [each["q3"] for each in us.values()], color=color, alpha=0.2
        )
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("live steps")
    axes.set_ylabel("µs")


# Room


def _describe_room(found: Any) -> str:
    rows = [
        f"{found[name]['server']} {sum(parts.values())}: "
        + ", ".join(f"{kind} {taken}" for kind, taken in parts.items())
        for name in ("redis", "valkey")
        for parts in (_parts(found[name]),)
    ]
    return f"Bytes of a live step beyond its message, by what they are for. {'; '.join(rows)}."


def _parts(of_server: Any) -> dict[str, int]:
    by_kind = {kind: taken for kind, taken in of_server["by kind"].items() if kind != "messages"}
    parts = {kind: by_kind.pop(kind, 0) for kind in KINDS if kind != "the rest"}
    return {**parts, "the rest": sum(by_kind.values())}


def _draw_room(found: Any, axes: Any) -> None:
    for row, name in enumerate(("redis", "valkey")):
        left = 0
        for kind, taken in _parts(found[name]).items():
            axes.barh(row, taken, left=left, height=0.6, color=KINDS[kind], label=kind if row == 0 else None)
            left += taken
        axes.annotate(f"{left}", (left, row), (6, -4), textcoords="offset points")
    axes.set_yticks([0, 1], [found[name]["server"] for name in ("redis", "valkey")])
    axes.set_ylim(1.5, -0.5)
    axes.set_xlabel("bytes a live step, beyond its message")


# Losses

_BROKERS = {"redis": "Redis", "rabbitmq": "RabbitMQ, confirmed"}
_SENDERS = {
    "sent again, messages/s": ("sent again by the check", BLUE),
    "apply_async, messages/s": ("apply_async", GREY),
}


def _describe_losses(found: Any) -> str:
    rows = [
        f"{label}: "
        + ", ".join(f"{words} {found[broker][sender]['median']:,.0f}" for sender, (words, _) in _SENDERS.items())
        for broker, label in _BROKERS.items()
    ]
    return f"Messages a second from one process. {'; '.join(rows)}."


def _draw_losses(found: Any, axes: Any) -> None:
    for row, broker in enumerate(_BROKERS):
        for place, (sender, (words, color)) in enumerate(_SENDERS.items()):
            rate, y = found[broker][sender]["median"], row + (place - 0.5) * 0.36
            axes.barh(y, rate, height=0.32, color=color, label=words if row == 0 else None)
            axes.annotate(f"{rate:,.0f}", (rate, y), (6, -4), textcoords="offset points", color=color)
    axes.set_yticks(range(len(_BROKERS)), list(_BROKERS.values()))
    axes.set_ylim(len(_BROKERS) - 0.5, -0.5)
    axes.margins(x=0.1)
    axes.set_xlabel("messages a second, one process")
    axes.xaxis.set_major_formatter("{x:,.0f}")


# Lateness


def _describe_lateness(found: Any) -> str:
    return (
        f"How late {found['tasks']} lost messages were sent again, with a check each second: half of them within "
        f"{found['p50_ms']:.0f} ms of the deadline, 99 of 100 within {found['p99_ms']:.0f} ms, the last after "
        f"{found['worst_ms']:.0f} ms."
    )


def _draw_lateness(found: Any, axes: Any) -> None:
    cuts = found["percentiles_ms"]
    axes.plot([0, *cuts], range(len(cuts) + 1), color=BLUE, linewidth=2)
    axes.axvline(found["check_interval_ms"], color=GREY, linewidth=1)
    axes.annotate(
        "the check's interval", (found["check_interval_ms"], 5), (-8, 0), textcoords="offset points", ha="right"
    )
    axes.set_xlim(0, max(cuts[-1], found["check_interval_ms"]) * 1.1)
    axes.set_ylim(0, 100)
    axes.set_xlabel("ms from the deadline to the message")
    axes.set_ylabel("% sent again by then")
    axes.xaxis.set_major_formatter("{x:,.0f}")


# Peers


def _rates(found: Any) -> dict[str, float]:
    rates = {name: rate["median"] for name, rate in found["throughput"]["processes_per_s"].items()}
    return dict(sorted(rates.items(), key=lambda pair: -pair[1]))


def _describe_peers(found: Any) -> str:
    return (
        f"Processes of three steps a second: {', '.join(f'{name} {rate:,}' for name, rate in _rates(found).items())}."
    )


def _draw_peers(found: Any, axes: Any) -> None:
    for row, (name, rate) in enumerate(_rates(found).items()):
        color = BLUE if name == "trellis-celery" else GREY
        axes.barh(row, rate, height=0.6, color=color)
        axes.annotate(f"{rate:,}", (rate, row), (6, -4), textcoords="offset points", color=color)
    axes.set_yticks(range(len(_rates(found))), list(_rates(found)))
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("processes of three steps a second")


PICTURES = {
    "tasks": Picture("Tasks a second beside plain Celery", "tasks", _describe_tasks, _draw_tasks, height=3.2),
    "leaks": Picture("Memory of a worker that tracks, and of one that does not", "leaks", _describe_leaks, _draw_leaks),
    "sizes": Picture("A check and a commit, by the number of live steps", "sizes", _describe_sizes, _draw_sizes),
    "room": Picture("Memory of a live step", "room", _describe_room, _draw_room, height=2.2),
    "losses": Picture("Messages sent again, and sent by apply_async", "losses", _describe_losses, _draw_losses),
    "lateness": Picture("From the deadline to the message", "lateness", _describe_lateness, _draw_lateness),
    "peers": Picture("Processes of three steps a second", "peers", _describe_peers, _draw_peers, height=3.2),
}

OF_SECTION = {
    "What tracking costs": ("tasks", "leaks"),
    "What size costs": ("sizes", "room"),
    "When something is lost": ("losses", "lateness"),
    "Beside others": ("peers",),
}


def describe(name: str, found: Found) -> str:
    return PICTURES[name].describe(found[PICTURES[name].script])
