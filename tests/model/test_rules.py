"""The rules of the model are those of the package: both act on every record there is, and make the same of it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from msgspec.structs import replace

from tests.model import spin
from trellis_celery.domain import outcomes, runs, timeouts
from trellis_celery.domain.step import DeadlineKind, ProcessStep, StepState
from trellis_celery.domain.timeouts import Action
from trellis_celery.domain.transitions import Transition, Verdict

#: Rules of the package that the model has no use for.
NOT_MODELLED = {
    "outcomes.close_incident",  # for people: changes no state
    "runs.of_call",  # every message of the model is of one call
    "runs.withdraw",  # as if it had never been sent
    "timeouts.backoff_ms",  # how long it is
    "timeouts.confirm_alert",  # of steps that are only told about
    "timeouts.confirm_told",  # of steps without a message
    "timeouts.is_lost",  # for the reason that is told
    "timeouts.log_sent",  # an entry of the log
}
NOW_MS = 1_000_000
RUNS = (None, "me", "another")
#: The number that says that no attempt was named.
ANY = 9

Args = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """What one rule of the model made of one record."""

    rule: str
    args: Args
    before: ProcessStep
    #: The name of the verdict, or of the action.
    answer: str
    after: ProcessStep


def test_each_rule_of_the_model_makes_the_same_of_every_record(tmp_path: Path) -> None:
    printed = spin.Model("conformance.pml", {}, directory=tmp_path).printed()
    compared: dict[str, int] = dict.fromkeys(_rules_of_the_model(), 0)

    for case in _cases(printed):
        answer, after = RULES[case.rule](case.before, case.args)

        assert (answer, _seen(after)) == (case.answer, _seen(case.after)), f"{case.rule}{case.args} of {case.before}"
        compared[case.rule] += 1

    records = 5 * 3 * 2 * 2 * 7 * 3 * 2 * 2
    assert all(count >= records / 5 for count in compared.values()), compared
    assert sum(compared.values()) > 50 * records


def test_the_model_has_every_rule_that_moves_a_step() -> None:
    public = {
        f"{module.__name__.rpartition('.')[2]}.{name}"
        for module in (runs, outcomes, timeouts)
        for name, member in inspect.getmembers(module, inspect.isfunction)
        if member.__module__ == module.__name__ and not name.startswith("_")
    }

    assert {rule.qualified for rule in _declared()} == public - NOT_MODELLED
    assert {rule.name for rule in _declared()} == set(RULES)


# The package's rules, asked as the model's are


def _me(number: int) -> str | None:
    return RUNS[number]


def _attempt(number: int) -> int | None:
    return None if number == ANY else number


def _sender(step: ProcessStep, is_stray: int) -> str | None:
    """The run that sent a message of a retry: one that holds the step, unless it is a stray."""
    return "a third" if is_stray else step.run_id


def _verdict(transition: Transition) -> tuple[str, ProcessStep]:
    return transition.verdict.name, transition.after


def _queue(step: ProcessStep, args: Args) -> tuple[str, ProcessStep]:
    return _verdict(runs.queue(step, task_id="task", args_digest="digest", is_late=bool(args[0]), now_ms=NOW_MS))


def _queue_again(step: ProcessStep, args: Args) -> tuple[str, ProcessStep]:
    me, attempt, retries = args
    return _verdict(runs.queue_again(step, attempt=attempt, run_id=_me(me), now_ms=NOW_MS, celery_retries=retries))


def _start(step: ProcessStep, args: Args) -> tuple[str, ProcessStep]:
    attempt, retries, is_stray, is_timed = args
    return _verdict(
        runs.start(
            step if is_timed else replace(step, timeout_ms=None),
            run_id="me",
            attempt=attempt,
            celery_retries=retries,
            sent_by=_sender(step, is_stray),
            is_leased=True,
            now_ms=NOW_MS,
        )
    )


def _claim_finish(step: ProcessStep, args: Args) -> tuple[str, ProcessStep]:
    attempt, retries, is_stray = args
    return _verdict(
        runs.claim_finish(
            step,
            run_id="me",
            attempt=attempt,
            celery_retries=retries,
            sent_by=_sender(step, is_stray),
            now_ms=NOW_MS,
        )
    )


def _release(step: ProcessStep, args: Args) -> tuple[str, ProcessStep]:
    return _verdict(runs.release(step, attempt=args[0], run_id="me", resend_in_ms=1, now_ms=NOW_MS))


def _hand_over(step: ProcessStep, args: Args) -> tuple[str, ProcessStep]:
    return _verdict(runs.hand_over(step, attempt=args[0], run_id="me", now_ms=NOW_MS))


def _heartbeat(step: ProcessStep, args: Args) -> tuple[str, ProcessStep]:
    return _verdict(runs.heartbeat(step, attempt=args[0], run_id="me", extend_ms=1, now_ms=NOW_MS))


def _complete(step: ProcessStep, args: Args) -> tuple[str, ProcessStep]:
    return _verdict(outcomes.complete(step, run_id=_me(args[0]), now_ms=NOW_MS))


def _fail(step: ProcessStep, args: Args) -> tuple[str, ProcessStep]:
    me, attempt = args
    return _verdict(outcomes.fail(step, "an error", run_id=_me(me), attempt=_attempt(attempt), now_ms=NOW_MS))


def _cancel(step: ProcessStep, args: Args) -> tuple[str, ProcessStep]:
    me, attempt = args
    return _verdict(outcomes.cancel(step, run_id=_me(me), attempt=_attempt(attempt), now_ms=NOW_MS))


def _lose(step: ProcessStep, args: Args) -> tuple[str, ProcessStep]:
    me, attempt = args
    return _verdict(outcomes.lose(step, "a reason", run_id=_me(me), attempt=attempt, now_ms=NOW_MS))


def _put_back(step: ProcessStep, args: Args) -> tuple[str, ProcessStep]:
    return _verdict(runs.put_back(step, "a reason", attempt=args[0], now_ms=NOW_MS))


def _throw_away(step: ProcessStep, args: Args) -> tuple[str, ProcessStep]:
    attempt, is_lost = args
    return _verdict(outcomes.throw_away(step, "a reason", attempt=attempt, is_lost=bool(is_lost), now_ms=NOW_MS))


def _reopen(step: ProcessStep, _: Args) -> tuple[str, ProcessStep]:
    return _verdict(outcomes.reopen(step, has_message=True, now_ms=NOW_MS))


def _time_out(step: ProcessStep, args: Args) -> tuple[str, ProcessStep]:
    is_due, lapsed, has_backoff = args
    if step.deadline_ms is not None and not is_due:
        step = replace(step, deadline_ms=NOW_MS + 1)
    step = replace(step, backoff_ms=1_000 if has_backoff else 0)
    action, transition = timeouts.time_out(step, lapsed_attempt=lapsed or None, now_ms=NOW_MS)
    return action.name, transition.after


def _confirm(step: ProcessStep, args: Args) -> tuple[str, ProcessStep]:
    return _verdict(timeouts.confirm(step, attempt=args[0], now_ms=NOW_MS))


def _give_up(step: ProcessStep, args: Args) -> tuple[str, ProcessStep]:
    return _verdict(timeouts.give_up(step, attempt=args[0], now_ms=NOW_MS))


RULES: dict[str, Callable[[ProcessStep, Args], tuple[str, ProcessStep]]] = {
    "queue": _queue,
    "queue_again": _queue_again,
    "start": _start,
    "claim_finish": _claim_finish,
    "release": _release,
    "hand_over": _hand_over,
    "heartbeat": _heartbeat,
    "complete": _complete,
    "fail": _fail,
    "cancel": _cancel,
    "lose": _lose,
    "put_back": _put_back,
    "throw_away": _throw_away,
    "reopen": _reopen,
    "time_out": _time_out,
    "confirm": _confirm,
    "give_up": _give_up,
}


# The model's


@dataclass(frozen=True, slots=True)
class _Declared:
    name: str
    qualified: str


def _declared() -> list[_Declared]:
    text = (spin.MODEL / "rules.pml").read_text()
    return [_Declared(*found) for found in re.findall(r"^inline (\w+)\(.*\) \{  /\* rule: ([\w.]+) \*/$", text, re.M)]


def _rules_of_the_model() -> list[str]:
    return [rule.name for rule in _declared()]


def _cases(printed: str) -> Iterator[Case]:
    """Of each line that is of a rule, what it says. The line of the record comes before those of its rules."""
    declared = ProcessStep("step", timeout_ms=1_000, retries_permitted=1, args_digest="digest", version=1)
    verdicts, actions, read = spin.names("verdict"), spin.names("action"), cache(partial(_record, declared))
    assert {name for name in verdicts if name} == {each.name for each in Verdict} - {"UNTRACKED"}
    assert {name for name in actions if name} == {each.name for each in Action} - {"ALERT"}
    before = declared
    for line in printed.partition("\n\n")[0].splitlines():
        rule, *words = line.split()
        numbers = [int(word) for word in words]
        record = tuple(numbers[-8:])
        if rule == "=":
            before = read(record)
            continue
        answer = (actions if rule == "time_out" else verdicts)[numbers[-9]]
        yield Case(rule, tuple(numbers[:-9]), before, answer, read(record))


def _record(declared: ProcessStep, numbers: tuple[int, ...]) -> ProcessStep:
    state, attempt, retry_count, celery_retries, clock, run, is_leased, is_finishing = numbers
    kind = CLOCKS[clock]
    return replace(
        declared,
        state=STATES[state],
        attempt=attempt,
        retry_count=retry_count,
        celery_retries=celery_retries,
        deadline_kind=kind,
        deadline_ms=None if kind is None else NOW_MS,
        run_id=RUNS[run],
        is_leased=bool(is_leased),
        finishing_at_ms=NOW_MS if is_finishing else None,
        task_id="task" if attempt else None,
    )


STATES = {number: StepState[name] for number, name in enumerate(spin.names("state")) if name}
CLOCKS = {
    number: None if name == "NO_CLOCK" else DeadlineKind[name]
    for number, name in enumerate(spin.names("clock"))
    if name
}


def _seen(step: ProcessStep) -> tuple[object, ...]:
    """What the model knows of a record."""
    assert (step.deadline_ms is None) == (step.deadline_kind is None)
    return (
        step.state,
        step.attempt,
        step.retry_count,
        step.celery_retries,
        step.deadline_kind,
        step.run_id,
        step.is_leased,
        step.is_finishing,
    )
