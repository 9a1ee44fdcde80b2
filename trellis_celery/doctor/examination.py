"""The whole examination: ask everything at once, and judge what was answered.

A question that fails, because a server is down or a right is missing, costs no more than its own checks: they are told
as unchecked, with the reason. Nothing that is asked writes anything that lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

import trellis_celery
from trellis_celery import errors
from trellis_celery.doctor import (
    beat,
    broker,
    celery_app,
    dynamodb,
    redis,
    redis_rights,
    sql,
    steps,
    store,
    work,
    workers,
)
from trellis_celery.doctor.asking import declared as asking_declared
from trellis_celery.doctor.asking import workers as asking_workers
from trellis_celery.doctor.asking.broker import place_of
from trellis_celery.doctor.asking.patience import ask_all
from trellis_celery.doctor.asking.places import Place
from trellis_celery.doctor.asking.redis import Server
from trellis_celery.doctor.finding import Checks, ok, problem
from trellis_celery.doctor.patient import Patient, Question
from trellis_celery.doctor.report import Notes, Report
from trellis_celery.doctor.steps import DeclaredFacts, TaskFacts
from trellis_celery.domain.definitions import ProcessType
from trellis_celery.plugin.extension import Trellis

SETTINGS = "settings"
#: The name of every check there is.
CHECKS: tuple[str, ...] = (
    SETTINGS,
    *celery_app.CHECKS,
    *store.CHECKS,
    *redis.CHECKS,
    *redis_rights.CHECKS,
    *sql.CHECKS,
    *dynamodb.CHECKS,
    *broker.CHECKS,
    *beat.CHECKS,
    *work.CHECKS,
    *workers.CHECKS,
    *steps.CHECKS,
)
#: By the kind of a store: the checks of each question about it, beside those of every store.
_OF_KIND: Mapping[str, Mapping[str, Checks[Any]]] = {
    "redis": {"servers": redis.CHECKS, "rights": redis_rights.CHECKS},
    "sqlalchemy": {"sqlalchemy": sql.CHECKS},
    "dynamodb": {"dynamodb": dynamodb.CHECKS},
}

#: Nobody waits for longer than this, seconds; and for a slow store as long as two of its calls may take beside it.
PATIENCE_S = 8.0

_CHECK = "trellis_celery.check_timeouts"
_Answers = Mapping[Question, Any]


def examine(trellis: Trellis, types: Sequence[type[ProcessType]] | None = None) -> Report:
    """Look at everything that could make trellis break its promises. Never raises for what it finds.

    `types`: the process types to look at; all that have been imported if left out.
    """
    notes = Notes()
    try:
        patience_s = PATIENCE_S + 2 * trellis.settings.store_timeout_ms / 1000
    except errors.ConfigurationError as error:
        _note_bad_settings(notes, error)
        return notes.report()
    patient = Patient.of(trellis, types)
    answers = ask_all(patient.questions(), within_s=patience_s)
    for note in _NOTE:
        note(notes, patient, answers)
    return notes.report()


def _note_bad_settings(notes: Notes, error: Exception) -> None:
    notes.add(
        problem(
            str(error),
            why="Workers and beat do not start with it, and web processes raise when they track.",
            advice="Correct it, and look again: nothing else was looked at.",
        ),
        check=SETTINGS,
    )
    notes.leave_out(CHECKS[1:], "the settings are not understood")


# Each subject: its answers, or why there are none


def _note_app(notes: Notes, patient: Patient, answers: _Answers) -> None:
    del answers
    conf = patient.app.conf
    if patient.place_error:
        _note_bad_place(notes, patient.place_error)
    else:
        notes.add(ok("all settings of trellis are understood"), check=SETTINGS)
    others = asking_declared.other_tasks(patient.trellis, patient.declared)
    facts = celery_app.AppFacts(
        broker=patient.broker_kind,
        is_eager=bool(conf.task_always_eager),
        protocol=int(conf.task_protocol),
        has_remote_control=bool(conf.worker_enable_remote_control),
        looping_tasks=tuple(task.name for task in others if task.acks_late and task.reject_on_worker_lost),
        import_error=patient.import_error,
    )
    notes.judge(celery_app.CHECKS, facts)


def _note_bad_place(notes: Notes, error: str) -> None:
    notes.add(
        problem(
            error,
            why="Nothing is tracked, and start_process raises.",
            advice="Correct the setting, or install what it needs in every program.",
        ),
        check=SETTINGS,
    )
    notes.leave_out((*store.CHECKS, *work.CHECKS), "a store could not be opened")


def _note_places(notes: Notes, patient: Patient, answers: _Answers) -> None:
    several = len(patient.places) > 1
    for place in patient.places:
        about, answer = place.role if several else "", answers["store", place.role]
        if isinstance(answer, Exception):
            _note_silent_place(notes, place, answer, about)
            continue
        notes.judge(store.CHECKS, answer, about=about)
        for what, checks in _OF_KIND.get(place.kind, {}).items():
            if what != "servers":
                _judge(notes, checks, answers[what, place.role], about=about)


def _note_silent_place(notes: Notes, place: Place, error: Exception, about: str) -> None:
    finding = store.unreachable(
        place.shown, setting=place.setting, error=str(error), is_archive=place.role == "archive"
    )
    notes.add(finding, check="store-reachable", about=about)
    reason = f"the {place.role} does not answer"
    notes.leave_out((name for name in store.CHECKS if name != "store-reachable"), reason)
    for checks in _OF_KIND.get(place.kind, {}).values():
        notes.leave_out(checks, reason)


def _note_servers(notes: Notes, patient: Patient, answers: _Answers) -> None:
    """Servers of Redis, each once: one may be the store and the broker."""
    del patient
    uses: dict[str, tuple[list[str], Server]] = {}
    for (what, role), answer in answers.items():
        if what != "servers":
            continue
        if isinstance(answer, Exception):
            notes.leave_out(redis.CHECKS, f"{role}: {answer}")
            continue
        for server in answer:
            use = f"{role} {server.address}".strip()
            roles, _ = uses.setdefault(server.run_id or use, ([], server))
            roles.append(use)
    for roles, server in uses.values():
        notes.judge(redis.CHECKS, server.facts, about=" and ".join(roles))


def _note_broker(notes: Notes, patient: Patient, answers: _Answers) -> None:
    answer = answers["broker", ""] if patient.broker_kind else errors.StoreUnavailable(patient.broker_error)
    if not isinstance(answer, Exception):
        notes.judge(broker.CHECKS, answer)
        return
    shown = place_of(patient.app) if patient.broker_kind else "broker_url"
    notes.add(broker.unreachable(shown, error=str(answer)), check="broker-reachable")
    notes.leave_out((name for name in broker.CHECKS if name != "broker-reachable"), "the broker does not answer")


def _note_beat(notes: Notes, patient: Patient, answers: _Answers) -> None:
    del patient
    _judge(notes, beat.CHECKS, answers["beat", ""])


def _note_work(notes: Notes, patient: Patient, answers: _Answers) -> None:
    live = [place for place in patient.places if place.role != "archive"]
    if any(isinstance(answers["store", place.role], Exception) for place in live):
        notes.leave_out(work.CHECKS, "the store does not answer")
    elif live:
        _judge(notes, work.CHECKS, answers["work", ""])


def _note_workers(notes: Notes, patient: Patient, answers: _Answers) -> None:
    answer = answers.get(("workers", ""))
    if answer is None or isinstance(answers.get(("broker", "")), Exception):
        notes.leave_out(workers.CHECKS, "the broker does not answer")
        return
    if isinstance(answer, Exception):
        notes.leave_out(workers.CHECKS, str(answer))
        return
    tasks = [task for step in patient.declared.steps for task in step.tasks]
    check = patient.app.tasks.get(_CHECK)
    own = [] if check is None else [asking_declared.task_facts(patient.app, check)]
    facts = workers.WorkersFacts(
        workers=answer,
        version=trellis_celery.__version__,
        keys=asking_workers.split_keys(patient.trellis.signer.fingerprint),
        settings=asking_workers.settings_in(patient.app.conf.table(censored=True)),
        tasks=frozenset(task.name for task in tasks),
        limited_tasks=frozenset(task.name for task in tasks if task.time_limit_ms is not None),
        queues=frozenset(task.queue for task in (*tasks, *own) if task.queue),
    )
    notes.judge(workers.CHECKS, facts)


def _note_steps(notes: Notes, patient: Patient, answers: _Answers) -> None:
    notes.judge(steps.CHECKS, _with_limits_of_workers(patient.declared, answers.get(("workers", ""))))


def _with_limits_of_workers(declared: DeclaredFacts, answer: Any) -> DeclaredFacts:
    """A task without a time limit has that of its workers, `--time-limit`: the longest, if all of them have one."""
    if not isinstance(answer, tuple):
        return declared

    def limited(task: TaskFacts) -> TaskFacts:
        limits = [worker.time_limit_ms for worker in answer if task.name in worker.tasks]
        if task.time_limit_ms is not None or not limits or None in limits:
            return task
        return replace(task, time_limit_ms=max(limits))

    steps_ = (replace(step, tasks=tuple(limited(task) for task in step.tasks)) for step in declared.steps)
    return replace(declared, steps=tuple(steps_))


_NOTE: tuple[Callable[[Notes, Patient, _Answers], None], ...] = (
    _note_app,
    _note_places,
    _note_servers,
    _note_broker,
    _note_beat,
    _note_work,
    _note_workers,
    _note_steps,
)


def _judge(notes: Notes, checks: Checks[Any], answer: Any, *, about: str = "") -> None:
    if isinstance(answer, Exception):
        notes.leave_out(checks, str(answer) or type(answer).__name__)
    else:
        notes.judge(checks, answer, about=about)
