"""What live workers tell of themselves, by Celery's remote control."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from trellis_celery import errors
from trellis_celery.doctor.asking.broker import connected
from trellis_celery.doctor.workers import WorkerFacts
from trellis_celery.settings import PREFIX, Settings

#: So long a worker may take to say that it is there, seconds.
PATIENCE_S = 1.5
#: Attributes of the check, by which a worker tells of itself.
_TOLD = ("trellis_version", "trellis_signing")
_CHECK = "trellis_celery.check_timeouts"
#: What Celery shows in the place of a secret.
_MASK = "********"


def ask(app: Any) -> tuple[WorkerFacts, ...]:
    """Those that answer. Raises StoreUnavailable if the broker does not."""
    with connected(app) as connection:
        names = sorted(app.control.inspect(timeout=PATIENCE_S, connection=connection).ping() or {})
        if not names:
            return ()
        inspect = app.control.inspect(
            destination=names, limit=len(names), timeout=2 * PATIENCE_S, connection=connection
        )
        stats, queues, conf = inspect.stats() or {}, inspect.active_queues() or {}, inspect.conf() or {}
        tasks = inspect.registered(*_TOLD) or {}
    return tuple(
        _facts(name, stats.get(name) or {}, tasks.get(name) or (), queues.get(name) or (), conf.get(name) or {})
        for name in names
    )


def _facts(name: str, stats: Any, tasks: Any, queues: Any, conf: Mapping[str, Any]) -> WorkerFacts:
    told = dict(_task_and_told(text) for text in tasks)
    check = told.get(_CHECK, {})
    pool = str(stats.get("pool", {}).get("implementation", ""))
    limits = stats.get("pool", {}).get("timeouts") or (0, 0)
    return WorkerFacts(
        name=name,
        pool=pool.partition(":")[0].rpartition(".")[2],  # "celery.concurrency.thread:TaskPool"
        tasks=frozenset(told),
        queues=frozenset(str(queue["name"]) for queue in queues),
        version=check.get("trellis_version"),
        has_trellis=_CHECK in told,
        keys=split_keys(check.get("trellis_signing", "")),
        settings=settings_in(conf),
        time_limit_ms=int(limits[1] * 1000) or None,
    )


def _task_and_told(text: str) -> tuple[str, dict[str, str]]:
    """From "name [trellis_version=0.1.0 trellis_signing=]"."""
    found = re.fullmatch(r"(.+) \[(trellis_version=.*)\]", text)
    if found is None:
        return text, {}
    return found[1], dict(part.split("=", 1) for part in found[2].split(" "))


def split_keys(fingerprint: str) -> tuple[str, ...]:
    """The fingerprints of single keys."""
    return tuple(filter(None, fingerprint.split(",")))


def settings_in(conf: Mapping[str, Any]) -> dict[str, str]:
    """The settings of trellis in a configuration as Celery shows it, with defaults, and without what is hidden."""
    given = {}
    for key, value in conf.items():
        prefix, separator, name = key.lower().partition(PREFIX)
        if separator and not (prefix and not prefix.endswith("_")):
            given[name] = value
    shown = {one.name: given.get(one.name, _default(one.name)) for one in fields(Settings)}
    return {PREFIX + name: _text(value) for name, value in shown.items() if value != _MASK}


def _default(name: str) -> Any:
    return getattr(Settings(), name)


def _text(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=repr)
    return errors.without_password(json.loads(text)) if isinstance(value, str) else text
