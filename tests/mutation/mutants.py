"""Mistakes that somebody could make in the protocol, each a text that is replaced by another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2] / "trellis_celery"
COMMIT, RELAYED = (f"stores/redis/lua/{name}.lua" for name in ("commit", "relayed"))
RUNS, OUTCOMES, TIMEOUTS, STEP = (f"domain/{name}.py" for name in ("runs", "outcomes", "timeouts", "step"))


@dataclass(frozen=True)
class Mutant:
    """The package with the text at one place of a file replaced."""

    name: str
    #: Of a file within the package.
    path: str
    start: int
    old: str
    new: str

    @property
    def source(self) -> str:
        """The whole file as it then is."""
        text = (ROOT / self.path).read_text()
        assert text.startswith(self.old, self.start), f"{self.name}: {self.path} is another by now"
        return text[: self.start] + self.new + text[self.start + len(self.old) :]


def mutant(name: str, path: str, old: str, new: str) -> Mutant:
    """`old` has to be there exactly once."""
    text = (ROOT / path).read_text()
    assert text.count(old) == 1, f"{name}: {text.count(old)} places in {path}"
    return Mutant(name, path, text.index(old), old, new)


MUTANTS = [
    mutant("version is not checked", COMMIT, "if version ~= string.format('%d', change.version) then", "if false then"),
    mutant("own repetition is not recognised", COMMIT, "and token == change.token then", "and false then"),
    mutant("any repetition is taken for one's own", COMMIT, "and token == change.token then", "then"),
    mutant(
        "the class stays",
        COMMIT,
        "if new_class ~= class then\n  redis.call('ZADD'",
        "if false then\n  redis.call('ZADD'",
    ),
    mutant("the old class is not left", COMMIT, "redis.call('ZREM', KEYS[7], 't'", "redis.call('ECHO', 't'"),
    mutant("the new class is not entered", COMMIT, "'t' .. new_class .. by_type", "'x' .. new_class .. by_type"),
    mutant("a finished process does not wait", COMMIT, "redis.call('ZADD', KEYS[8], since, change.process)", ""),
    mutant("a reopened process waits", COMMIT, "redis.call('ZREM', KEYS[8], change.process)", ""),
    mutant("a changed process stays archived", COMMIT, "redis.call('ZREM', KEYS[9], change.process)", ""),
    mutant("a process is changed twice at one time", COMMIT, "math.max(now,", "math.min(now,"),
    mutant(
        "the business key is never freed",
        COMMIT,
        "elseif is_terminal and holder == change.process then",
        "elseif false then",
    ),
    mutant(
        "the business key of others is freed",
        COMMIT,
        "elseif is_terminal and holder == change.process then",
        "elseif is_terminal then",
    ),
    mutant(
        "a reopened process takes the key from others",
        COMMIT,
        "if not is_terminal and not holder then",
        "if not is_terminal then",
    ),
    mutant(
        "a reopened process does not get its key", COMMIT, "redis.call('HSET', KEYS[6]", "redis.call('HGET', KEYS[6]"
    ),
    mutant("a finished step keeps its deadline", COMMIT, "redis.call('ZREM', KEYS[2], due)", ""),
    mutant("a finished step keeps its lease", COMMIT, "redis.call('ZREM', KEYS[3], change.old_lease)", ""),
    mutant("a finished step keeps its message", COMMIT, "redis.call('HDEL', KEYS[5], change.step)", ""),
    mutant("counters are not kept", COMMIT, "numbers[bit + 1] - 1", "numbers[bit + 1]"),
    mutant(
        "the end of a process is not logged",
        COMMIT,
        "redis.call('RPUSH', KEYS[4], change.own_ends[2 * new_end - 1])",
        "",
    ),
    mutant(
        "the end of a process is logged again",
        COMMIT,
        "local has_ended = is_terminal and new_end ~= old_end",
        "local has_ended = is_terminal and change.own_ends",
    ),
    mutant(
        "events are not counted",
        COMMIT,
        "redis.call('HINCRBY', KEYS[11], by_type .. totals[i], string.format('%d', totals[i + 1]))",
        "",
    ),
    mutant(
        "what is announced does not wait",
        COMMIT,
        "if change.announced then\n  redis.call('ZADD'",
        "if false then\n  redis.call('ZADD'",
    ),
    mutant(
        "a claim is taken back by the next event",
        COMMIT,
        "redis.call('ZADD', KEYS[10], 'NX', now",
        "redis.call('ZADD', KEYS[10], now",
    ),
    mutant("what came meanwhile does not wait", RELAYED, "if left > 0 then", "if false then"),
    mutant("an older mark takes back a newer one", RELAYED, "math.max(ARGV[2],", "math.min(ARGV[2],"),
    mutant("the log is checked too late", COMMIT, "redis.call('LLEN', KEYS[4])", ""),
    mutant(
        "a finished step starts",
        RUNS,
        "if step.state.is_terminal:\n        return Verdict.FINISHED",
        "if False:\n        return Verdict.FINISHED",
    ),
    mutant("a replaced attempt starts", RUNS, "if message < current:", "if False:"),
    mutant(
        "a held attempt starts again",
        RUNS,
        "message == current or step.is_finishing",
        "step.is_finishing",
    ),
    mutant(
        "a run starts beside one that finishes", RUNS, "message == current or step.is_finishing", "message == current"
    ),
    mutant(
        "a retry of a run that was refused starts",
        RUNS,
        "step.is_finishing or sent_by not in (None, step.run_id)",
        "step.is_finishing",
    ),
    mutant("a copy finishes", RUNS, "(attempt == step.attempt and is_copy)", "False"),
    mutant("an earlier run's lease ends a later run", TIMEOUTS, " and not is_older", ""),
    mutant(
        "what has started is withdrawn",
        RUNS,
        "is_waiting = step.state is StepState.PENDING and step.deadline_kind is DeadlineKind.QUEUE",
        "is_waiting = True",
    ),
    mutant(
        "the message of another call is withdrawn",
        RUNS,
        "if step.task_id != task_id or not is_waiting:",
        "if not is_waiting:",
    ),
    mutant(
        "a message that waits on purpose is sent before its time",
        RUNS,
        "max(now_ms + wait_ms, _starts_at_ms(step))",
        "now_ms + wait_ms",
    ),
    mutant(
        "a heartbeat keeps an alert from being told",
        RUNS,
        "if step.deadline_kind is DeadlineKind.TELLING:",
        "if False:",
    ),
    mutant(
        "a copy that a worker does not know stops a run",
        RUNS,
        "is_waiting = step.run_id is None and step.deadline_kind",
        "is_waiting = step.deadline_kind",
    ),
    mutant(
        "an old message that a worker does not know is sent again",
        RUNS,
        "if step.attempt != attempt or not is_waiting:",
        "if not is_waiting:",
    ),
    mutant(
        "a run that sends its chain has ten seconds",
        RUNS,
        "is_watched = step.run_id == run_id and step.attempt == attempt and step.is_leased",
        "is_watched = False",
    ),
    mutant(
        "a run that sends its chain has no time of its own",
        RUNS,
        "max(step.deadline_ms, now_ms + HANDOFF_MS)",
        "now_ms",
    ),
    mutant(
        "a late run sends its chain under the lease of another",
        RUNS,
        "step.run_id == run_id and step.attempt == attempt and step.is_leased",
        "step.is_leased",
    ),
    mutant(
        "another call ends the step",
        RUNS,
        "step.task_id not in (None, task_id) and step.args_digest not in (None, args_digest)",
        "False",
    ),
    mutant(
        "a replaced run frees the newer attempt",
        RUNS,
        "if attempt < step.attempt or is_overtaken or is_held_by_another(step, run_id):",
        "if False:",
    ),
    mutant(
        "a finished step is completed",
        OUTCOMES,
        "if step.state.is_terminal:\n        is_repeat = step.state is StepState.COMPLETED",
        "if False:\n        is_repeat = step.state is StepState.COMPLETED",
    ),
    mutant(
        "a finished step fails",
        OUTCOMES,
        "if step.state.is_terminal:\n        is_repeat = step.state is StepState.FAILED",
        "if False:\n        is_repeat = step.state is StepState.FAILED",
    ),
    mutant(
        "a replaced run fails the step",
        OUTCOMES,
        "if _is_replaced(step, attempt=attempt, run_id=run_id):\n        event",
        "if False:\n        event",
    ),
    mutant(
        "a finished step is lost",
        OUTCOMES,
        "if step.state.is_terminal or step.attempt == 0 or _is_replaced(step, attempt=attempt, run_id=run_id):",
        "if step.attempt == 0:",
    ),
    mutant(
        "any step is reopened",
        OUTCOMES,
        "if step.state is not StepState.FAILED and not step.has_incident:",
        "if False:",
    ),
    mutant("nobody sees to a step that was given up", TIMEOUTS, "        has_incident=True,\n", ""),
    mutant("retries have no end", TIMEOUTS, "if not step.can_retry():", "if False:"),
    mutant(
        "one retry too many",
        STEP,
        "self.retry_count < self.retries_permitted",
        "self.retry_count <= self.retries_permitted",
    ),
    mutant(
        "a finished step times out",
        TIMEOUTS,
        "if step.state.is_terminal or not (is_lapsed or is_due):",
        "if not (is_lapsed or is_due):",
    ),
    mutant(
        "a retry has no handoff",
        TIMEOUTS,
        "deadline_ms=now_ms + wait_ms if wait_ms else handoff_ms,",
        "deadline_ms=now_ms + wait_ms if wait_ms else None,",
    ),
    mutant(
        "a confirmation is late",
        TIMEOUTS,
        "is not DeadlineKind.HANDOFF:\n        return Transition(step, step)\n    wait_ms = step.queue",
        "is None and False:\n        return Transition(step, step)\n    wait_ms = step.queue",
    ),
    mutant(
        "a completed step is given up",
        TIMEOUTS,
        "if step.state.is_terminal or step.attempt != attempt or step.deadline_kind is not DeadlineKind.GIVING_UP:",
        "if False:",
    ),
    mutant(
        "an alert is told at most once",
        TIMEOUTS,
        "after = replace(ended, deadline_ms=handoff_ms, deadline_kind=DeadlineKind.TELLING, has_incident=True)",
        "after = replace(ended, deadline_ms=None, deadline_kind=None, has_incident=True)",
    ),
    mutant(
        "a confirmed alert stops another clock",
        TIMEOUTS,
        "if step.attempt != attempt or step.deadline_kind is not DeadlineKind.TELLING:",
        "if False:",
    ),
]
