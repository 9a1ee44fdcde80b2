"""Receivers of signals as type checkers see them. Checked by mypy --strict and pyright, never run."""

from typing import Any, assert_type

from celery import Celery

from trellis_celery import Event, Trellis, signals

trellis = Trellis(Celery("claims"))


@signals.step_gave_up.connect
def page(sender: Trellis, process_id: str, event: Event, **_: Any) -> None: ...


@signals.process_overdue.connect(sender=trellis, weak=False, dispatch_uid="claims.mail")
def mail(process_id: str, **_: Any) -> int:
    return len(process_id)


# Receivers stay what they were.
assert_type(mail("3-abc"), int)
assert_type(signals.step_completed.connect(mail)("3-abc"), int)


def without_keywords(sender: Trellis, process_id: str, event: Event) -> None: ...


def of_something_else(process_id: int, **_: Any) -> None: ...


signals.step_gave_up.connect(without_keywords)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
signals.step_gave_up.connect(of_something_else)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
signals.step_gave_upp  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
