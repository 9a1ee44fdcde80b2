"""The settings of trellis, their units and defaults: `trellis_*` in the Celery configuration.

With a namespace, as in Django, they are written ``CELERY_TRELLIS_URL``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from trellis_celery import errors

PREFIX = "trellis_"

#: Of a key of signatures, in characters.
SHORTEST_KEY = 16

_MAY_BE_ZERO = ("retention_ms",)
#: Because some schedulers of Celery beat keep no parts of a second.
_WHOLE_SECONDS = ("check_interval_ms", "history_interval_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All durations are whole milliseconds. Raises ConfigurationError for a value that makes no sense."""

    #: Where processes are kept: redis://, rediss://, redis+socket://, sentinel://, redis+cluster://, postgresql://, mysql://,
    #: mariadb://, sqlite://, dynamodb:// or memory://. It has no default, and the broker's URL is never taken instead.
    url: str = ""

    #: Where the trackers of steps are kept, if not beside the processes: a URL as above, but not of SQL.
    tracker_url: str = ""

    #: Where finished processes are kept for good: a URL of a SQL database. Empty: nowhere.
    history_url: str = ""

    #: How long a finished process stays in the store after its last change, and after it was archived if there is a
    #: `history_url`. 0: until somebody deletes it.
    retention_ms: int = 0

    #: How often beat sends the task that archives and removes finished processes. Whole seconds.
    history_interval_ms: int = 10_000

    #: So many finished processes may wait for an archive that is down. The oldest beyond that are removed when their
    #: retention is over, with an error in the log each.
    history_backlog: int = 1_000_000

    #: What Celery knows as `result_backend_transport_options`; for Sentinel {"master_name": …}.
    transport_options: Mapping[str, Any] = field(default_factory=dict)

    #: What all keys in the store start with.
    key_prefix: str = "trellis"

    #: How long a message may wait for a worker before a further copy of it is sent, for steps that say nothing else.
    queue_timeout_ms: int = 900_000

    #: A worker that has not renewed its leases for so long is taken for dead. Renewal is tried five times as often.
    worker_lost_ms: int = 5_000

    #: How often beat sends the check. Whole seconds.
    check_interval_ms: int = 1_000

    #: How many due steps a check reads and writes at a time.
    check_batch_size: int = 500

    #: A check ends after this time and leaves the rest to the next.
    check_budget_ms: int = 5_000

    #: The most that one call to the store may take. Tracking delays a task by no more than this each time.
    store_timeout_ms: int = 2_000

    #: The name of a topic exchange at the broker, to which every event is relayed for other services. Empty: to none.
    events_exchange: str = ""

    #: Send each event as a Celery event as well (`trellis-step-completed`, …): at most once.
    celery_events: bool = False

    #: Make a span of OpenTelemetry for each attempt.
    tracing: bool = False

    #: Let the arguments of tasks be seen in the shell and in Flower, while the store has them.
    show_args: bool = False

    #: What the headers of messages are signed with, so that who can only write to the broker changes no step. Several:
    #: the first signs, and what any of them has signed is trusted; an empty one behind it: what nobody has signed, too.
    signing_key: str | Sequence[str] = field(default="", repr=False)

    #: Raise an error at publish when the store cannot be written, instead of sending the task untracked.
    strict: bool = False

    def __post_init__(self) -> None:
        _require_keys(self.signing_key)
        for one in fields(self):
            if one.name == "signing_key":
                continue
            value = getattr(self, one.name)
            kind = {"str": str, "int": int, "bool": bool}.get(str(one.type), Mapping)
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                raise errors.ConfigurationError(f"{PREFIX}{one.name} must be {_an(one.type)}, not {value!r}")
            if isinstance(value, int) and kind is int and value < (0 if one.name in _MAY_BE_ZERO else 1):
                raise errors.ConfigurationError(f"{PREFIX}{one.name} must be positive, not {value}")
            if one.name in _WHOLE_SECONDS and isinstance(value, int) and value % 1000:
                raise errors.ConfigurationError(
                    f"{PREFIX}{one.name} must be whole seconds (1000, 2000, …), not {value}"
                )

    @property
    def signing_keys(self) -> tuple[str, ...]:
        """The keys of signatures, that which signs first; empty: there are none."""
        keys = (self.signing_key,) if isinstance(self.signing_key, str) else tuple(self.signing_key)
        return keys if any(keys) else ()

    @property
    def renew_interval_ms(self) -> int:
        """How often a worker renews its leases."""
        return max(50, self.worker_lost_ms // 5)

    @classmethod
    def from_conf(cls, conf: Mapping[str, Any]) -> Settings:
        """The settings in a Celery configuration. Raises ConfigurationError for a `trellis_` name that is none."""
        return cls(**{_known(name): conf[key] for key, name in _ours(conf).items()})


def _require_keys(given: object) -> None:
    """No error shows a key."""
    name = f"{PREFIX}signing_key"
    keys = [given] if isinstance(given, str) else given
    if not isinstance(keys, list | tuple) or not all(isinstance(key, str) for key in keys):
        raise errors.ConfigurationError(f"{name} must be a string, or a list of strings, not {type(given).__name__}")
    if any(key and len(key) < SHORTEST_KEY for key in keys):
        raise errors.ConfigurationError(f"{name} is shorter than {SHORTEST_KEY} characters: it could be guessed")
    if len(keys) > 1 and not keys[0]:
        raise errors.ConfigurationError(f"{name}: the first key signs, and may not be empty")


def _ours(conf: Mapping[str, Any]) -> dict[str, str]:
    """The keys of the configuration that are meant for trellis, and each one's name without prefixes."""
    keys = list(conf.keys())  # Celery reads its configuration only now, and does not know the namespace before
    namespace = getattr(conf, "prefix", None) or ""
    found = {}
    for key in keys:
        name = key.removeprefix(namespace)
        is_ours = name.lower().startswith(PREFIX) and (name != key or not namespace or key.islower())
        if is_ours:
            found[key] = name.lower().removeprefix(PREFIX)
    return found


def _known(name: str) -> str:
    names = [one.name for one in fields(Settings)]
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {PREFIX}{near[0]}?" if near else f"known are {', '.join(PREFIX + one for one in names)}"
    raise errors.ConfigurationError(f"{PREFIX}{name} is not a setting of trellis: {hint}")


def _an(kind: object) -> str:
    return {"str": "a string", "int": "a whole number", "bool": "True or False"}.get(str(kind), "a mapping")
