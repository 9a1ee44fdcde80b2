"""Take each guard away, one at a time, and see the tests go red: ``python -m tests.property.mutants``.

A suite that stays green without a guard proves nothing of it. Each mutant is a copy of the tree with one text replaced.
The property tests have to see it alone, and so have the unit and contract tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
COMMIT, RELAYED = (f"stores/redis/lua/{name}.lua" for name in ("commit", "relayed"))
RUNS, OUTCOMES, TIMEOUTS, STEP = (f"domain/{name}.py" for name in ("runs", "outcomes", "timeouts", "step"))

SUITES = {
    "property": ("tests/property",),
    "unit+contract": (
        "tests/unit/domain",
        "tests/unit/services",
        "tests/contract/test_redis.py::TestValkey",
        "tests/contract/test_redis_faults.py::TestLostReplies",
        "tests/contract/test_redis_faults.py::TestWrongTypes",
    ),
}


@dataclass(frozen=True)
class Mutant:
    name: str
    path: str
    old: str
    new: str


MUTANTS = [
    Mutant("version is not checked", COMMIT, "if version ~= string.format('%d', change.version) then", "if false then"),
    Mutant("own repetition is not recognised", COMMIT, "and token == change.token then", "and false then"),
    Mutant("any repetition is taken for one's own", COMMIT, "and token == change.token then", "then"),
    Mutant(
        "the class stays",
        COMMIT,
        "if new_class ~= class then\n  redis.call('ZADD'",
        "if false then\n  redis.call('ZADD'",
    ),
    Mutant("the old class is not left", COMMIT, "redis.call('ZREM', KEYS[7], 't'", "redis.call('ECHO', 't'"),
    Mutant("the new class is not entered", COMMIT, "'t' .. new_class .. by_type", "'x' .. new_class .. by_type"),
    Mutant("a finished process does not wait", COMMIT, "redis.call('ZADD', KEYS[8], since, change.process)", ""),
    Mutant("a reopened process waits", COMMIT, "redis.call('ZREM', KEYS[8], change.process)", ""),
    Mutant("a changed process stays archived", COMMIT, "redis.call('ZREM', KEYS[9], change.process)", ""),
    Mutant("a process is changed twice at one time", COMMIT, "math.max(now,", "math.min(now,"),
    Mutant("the business key is never freed", COMMIT, "elseif holder == change.process then", "elseif false then"),
    Mutant("the business key of others is freed", COMMIT, "elseif holder == change.process then", "else"),
    Mutant("a reopened process takes the key from others", COMMIT, "'HSETNX', KEYS[6]", "'HSET', KEYS[6]"),
    Mutant(
        "a reopened process does not get its key", COMMIT, "redis.call('HSETNX', KEYS[6]", "redis.call('HGET', KEYS[6]"
    ),
    Mutant("a finished step keeps its deadline", COMMIT, "redis.call('ZREM', KEYS[2], due)", ""),
    Mutant("a finished step keeps its lease", COMMIT, "redis.call('ZREM', KEYS[3], change.old_lease)", ""),
    Mutant("a finished step keeps its message", COMMIT, "redis.call('HDEL', KEYS[5], change.step)", ""),
    Mutant("counters are not kept", COMMIT, "count = count - 1", "count = count"),
    Mutant(
        "the end of a process is not logged",
        COMMIT,
        "redis.call('RPUSH', KEYS[4], change.own_ends[2 * new_end - 1])",
        "",
    ),
    Mutant(
        "the end of a process is logged again",
        COMMIT,
        "local has_ended = is_terminal and new_end ~= old_end",
        "local has_ended = is_terminal and change.own_ends",
    ),
    Mutant(
        "events are not counted",
        COMMIT,
        "redis.call('HINCRBY', KEYS[11], by_type .. totals[i], string.format('%d', totals[i + 1]))",
        "",
    ),
    Mutant(
        "what is announced does not wait",
        COMMIT,
        "if change.announced then\n  redis.call('ZADD'",
        "if false then\n  redis.call('ZADD'",
    ),
    Mutant(
        "a claim is taken back by the next event",
        COMMIT,
        "redis.call('ZADD', KEYS[10], 'NX', now",
        "redis.call('ZADD', KEYS[10], now",
    ),
    Mutant("what came meanwhile does not wait", RELAYED, "if left > 0 then", "if false then"),
    Mutant("an older mark takes back a newer one", RELAYED, "math.max(ARGV[2],", "math.min(ARGV[2],"),
    Mutant("the log is checked too late", COMMIT, "redis.call('LLEN', KEYS[4])", ""),
    Mutant(
        "a finished step starts",
        RUNS,
        "if step.state.is_terminal:\n        return Verdict.FINISHED",
        "if False:\n        return Verdict.FINISHED",
    ),
    Mutant("a replaced attempt starts", RUNS, "if message < current:", "if False:"),
    Mutant(
        "a held attempt starts again",
        RUNS,
        "message == current or step.is_finishing",
        "step.is_finishing",
    ),
    Mutant(
        "a run starts beside one that finishes", RUNS, "message == current or step.is_finishing", "message == current"
    ),
    Mutant(
        "a retry of a run that was refused starts",
        RUNS,
        "step.is_finishing or sent_by not in (None, step.run_id)",
        "step.is_finishing",
    ),
    Mutant("a copy finishes", RUNS, "(attempt == step.attempt and is_copy)", "False"),
    Mutant("an earlier run's lease ends a later run", TIMEOUTS, " and not is_of_earlier_run", ""),
    Mutant(
        "a replaced run frees the newer attempt",
        RUNS,
        "if attempt < step.attempt or is_held_by_another(step, run_id):",
        "if False:",
    ),
    Mutant(
        "a finished step is completed",
        OUTCOMES,
        'if step.state.is_terminal:\n        return _late(step, "completed"',
        'if False:\n        return _late(step, "completed"',
    ),
    Mutant(
        "a finished step fails",
        OUTCOMES,
        'if step.state.is_terminal:\n        return _late(step, "failed"',
        'if False:\n        return _late(step, "failed"',
    ),
    Mutant(
        "a replaced run fails the step",
        OUTCOMES,
        "if _is_replaced(step, attempt=attempt, run_id=run_id):\n        event",
        "if False:\n        event",
    ),
    Mutant(
        "a finished step is lost",
        OUTCOMES,
        "if step.state.is_terminal or step.attempt == 0 or _is_replaced(step, attempt=attempt, run_id=run_id):",
        "if step.attempt == 0:",
    ),
    Mutant(
        "any step is reopened",
        OUTCOMES,
        "if step.state is not StepState.FAILED and not step.has_incident:",
        "if False:",
    ),
    Mutant("nobody sees to a step that was given up", TIMEOUTS, "        has_incident=True,\n", ""),
    Mutant("retries have no end", TIMEOUTS, "if not step.can_retry():", "if False:"),
    Mutant(
        "one retry too many",
        STEP,
        "self.retry_count < self.retries_permitted",
        "self.retry_count <= self.retries_permitted",
    ),
    Mutant(
        "a finished step times out",
        TIMEOUTS,
        "if step.state.is_terminal or not (is_lapsed or is_due):",
        "if not (is_lapsed or is_due):",
    ),
    Mutant(
        "a retry has no handoff",
        TIMEOUTS,
        "deadline_ms=now_ms + wait_ms if wait_ms else handoff_ms,",
        "deadline_ms=now_ms + wait_ms if wait_ms else None,",
    ),
    Mutant(
        "a confirmation is late",
        TIMEOUTS,
        "step.deadline_kind is not DeadlineKind.HANDOFF:\n        return Transition(step, step)\n    wait_ms",
        "False:\n        return Transition(step, step)\n    wait_ms",
    ),
    Mutant(
        "a completed step is given up",
        TIMEOUTS,
        "if step.state.is_terminal or step.attempt != attempt or step.deadline_kind is not DeadlineKind.GIVING_UP:",
        "if False:",
    ),
]


#: A suite that takes longer goes round in a circle.
MOST_SECONDS = 900


def output_of_red(tree: Path, suite: str) -> str:
    """What the suite says if it is red, or never comes to an end; empty if it is green."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=line", "-p", "no:cacheprovider", *SUITES[suite]]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "TRELLIS_PROPERTY_EXAMPLES": "80"}
    try:
        ended = subprocess.run(
            command, cwd=tree, env=env, capture_output=True, text=True, check=False, timeout=MOST_SECONDS
        )
    except subprocess.TimeoutExpired:
        return "it does not end"
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr
    return ended.stdout if ended.returncode else ""


def main() -> int:
    wanted = sys.argv[1:]
    survived = 0
    with TemporaryDirectory() as directory:
        tree = Path(directory, "tree")
        for part in ("trellis_celery", "tests"):
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tree)
        for suite in SUITES:
            output = output_of_red(tree, suite)
            assert not output, f"{suite} is red without any mutant:\n{output}"
        chosen = [mutant for mutant in MUTANTS if not wanted or any(word in mutant.name for word in wanted)]
        for mutant in chosen:
            path = tree / "trellis_celery" / mutant.path
            original = path.read_text()
            assert original.count(mutant.old) == 1, f"{mutant.name}: {original.count(mutant.old)} places"
            path.write_text(original.replace(mutant.old, mutant.new))
            killers = [suite for suite in SUITES if output_of_red(tree, suite)]
            path.write_text(original)
            survived += not killers
            print(f"{'killed' if killers else 'SURVIVED':9} {mutant.name:48} {', '.join(killers)}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} killed")
    return bool(survived)


if __name__ == "__main__":
    sys.exit(main())
