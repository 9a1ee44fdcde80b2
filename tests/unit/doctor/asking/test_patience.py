"""Nobody waits longer than was said."""

from __future__ import annotations

import threading
import time

from trellis_celery import errors
from trellis_celery.doctor.asking.patience import ask_all


def test_answers_and_errors_stand_at_the_names_of_their_questions() -> None:
    def fail() -> str:
        raise errors.StoreUnavailable("gone")

    answers = ask_all({"a": lambda: "answer", "b": fail}, within_s=5)

    assert answers["a"] == "answer"
    assert str(answers["b"]) == "gone"


def test_a_question_without_an_answer_costs_its_own_answer_and_no_more_than_the_time_that_was_given() -> None:
    never = threading.Event()

    started_s = time.monotonic()
    answers = ask_all({"silent": never.wait, "quick": lambda: True}, within_s=0.2)
    took_s = time.monotonic() - started_s
    never.set()

    assert answers["quick"] is True
    assert isinstance(answers["silent"], errors.StoreUnavailable)
    assert "0.2 s" in str(answers["silent"])
    assert took_s < 2


def test_questions_are_asked_at_the_same_time() -> None:
    meeting = threading.Barrier(3)

    answers = ask_all({name: lambda: meeting.wait(timeout=5) for name in "abc"}, within_s=10)

    assert {type(answer) for answer in answers.values()} == {int}
