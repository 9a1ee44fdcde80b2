"""Ask several things at once, and wait for the answers no longer than is said.

Each question has its own time limits where its library knows some; this one is for what no library bounds, such as
looking up the name of a host.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from trellis_celery import errors

Name = TypeVar("Name", bound=Hashable)
Answer = TypeVar("Answer")


def ask_all(questions: Mapping[Name, Callable[[], Answer]], *, within_s: float) -> dict[Name, Answer | Exception]:
    """What each question answers or raises; StoreUnavailable in its place if it does neither in time.

    What still waits then goes on in a thread that does not keep the program from ending.
    """
    answers: queue.SimpleQueue[tuple[Name, Answer | Exception]] = queue.SimpleQueue()

    def ask(name: Name, question: Callable[[], Answer]) -> None:
        try:
            answers.put((name, question()))
        except Exception as error:  # noqa: BLE001 - whatever a server or a team's own code raises is an answer here
            answers.put((name, error))

    for name, question in questions.items():
        threading.Thread(target=ask, args=(name, question), name=f"trellis-doctor-{name}", daemon=True).start()
    end_s = time.monotonic() + within_s
    found: dict[Name, Answer | Exception] = {}
    while len(found) < len(questions):
        try:
            name, answer = answers.get(timeout=max(0.001, end_s - time.monotonic()))
        except queue.Empty:
            break
        found[name] = answer
    silence = errors.StoreUnavailable(f"no answer within {within_s:g} s")
    return {name: found.get(name, silence) for name in questions}
