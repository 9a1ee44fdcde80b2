"""The arguments of tasks, for people to look at: only where `trellis_show_args` allows it.

What Celery wrote into the message for exactly this purpose is shown as it is (`argsrepr`, `kwargsrepr`), because a team
hides secrets there. Only a message without it is opened, and only if it is JSON: nothing is ever unpickled, and no
object of any kind is made from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trellis_celery import errors
from trellis_celery.plugin import message
from trellis_celery.ports import StepKey

if TYPE_CHECKING:
    from trellis_celery.plugin.extension import Trellis

#: No step's arguments are shown longer than this.
MAX_LENGTH = 1_000
#: A longer body is not opened, bytes.
MAX_BODY = 1_000_000


def arguments_of(trellis: Trellis, process_id: str, step_names: Sequence[str]) -> Mapping[str, str]:
    """The arguments of the tasks that do these steps, by step, as text in one piece: `('ref-123',) {'urgent': True}`.

    Steps whose message the store does not have, or no longer, are left out; where there is a message that cannot be
    shown, a text in brackets says why. Empty unless `trellis_show_args` is set. Raises StoreError.
    """
    if not trellis.settings.show_args:
        return {}
    stored = trellis.store.load_messages([StepKey(process_id, name) for name in step_names])
    return {name: _shown(data) for name, data in zip(step_names, stored, strict=True) if data is not None}


def _shown(data: bytes) -> str:
    try:
        text = _text(message.load(data))
    except errors.MessageUnsendable:
        text = "(not shown: the message is damaged)"
    except (ValueError, RecursionError):
        text = "(not shown: the message is not the JSON of a task)"
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}…"


def _text(stored: message.Message) -> str:
    headers = json.loads(stored.headers)
    match headers:
        case {"argsrepr": str(args), "kwargsrepr": str(kwargs)}:
            return _joined(args, kwargs)
        case {"compression": str(compression)}:
            return f"(not shown: it is compressed, {compression})"
        case _:
            return _of_body(stored)


def _of_body(stored: message.Message) -> str:
    if stored.content_type != "application/json":
        return f"(not shown: it is {stored.content_type})"
    if len(stored.body) > MAX_BODY:
        return f"(not shown: it has {len(stored.body)} bytes)"
    body: Any = json.loads(stored.body)
    match body:
        case [list(args), dict(kwargs), *_]:
            return _joined(_dumped(args), _dumped(kwargs))
        case {"args": list(args), "kwargs": dict(kwargs)}:  # the first version of Celery's protocol
            return _joined(_dumped(args), _dumped(kwargs))
        case _:
            raise ValueError("no arguments")


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _joined(args: str, kwargs: str) -> str:
    """Without what is empty."""
    return " ".join(part for part in (args, kwargs) if part not in ("()", "[]", "{}")) or "()"
