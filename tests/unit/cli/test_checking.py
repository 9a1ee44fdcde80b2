"""One pass; for `--loop`, which ends by a signal, see `tests/integration/test_cli.py`."""

from __future__ import annotations

from celery import Celery

from tests.unit.cli.conftest import Shell
from trellis_celery import Trellis
from trellis_celery.domain.events import ProcessStepTimedOut


def test_a_pass_tells_what_it_did(shell: Shell) -> None:
    order = shell.shop.order()
    shell.shop.service.start_step(order, "charge")
    shell.shop.clock.advance(60_000)

    result = shell("check")

    assert result.exit_code == 0
    assert result.stdout == "retried: 1, backed off: 0, resent: 0, gave up: 0, alerted: 0, failed: 0\n"
    assert shell.shop.store.last_check().by.startswith("command line")


def test_what_is_late_is_no_failure_of_the_check(shell: Shell) -> None:
    order = shell.shop.order()
    shell.shop.service.start_step(order, "ship")
    shell.shop.clock.advance(60_000)

    assert shell("check").exit_code == 0


def test_a_step_that_could_not_be_handled_is_exit_code_1(shell: Shell) -> None:
    def raises(event: ProcessStepTimedOut) -> None:
        raise RuntimeError("the pager is down")

    shell.app = Celery("other", set_as_current=False, broker="memory://")
    Trellis(shell.app, store=shell.shop.store, on_timed_out=raises)
    order = shell.shop.order()
    shell.shop.service.start_step(order, "charge")
    shell.shop.clock.advance(60_000)

    result = shell("check", "--json")

    assert result.exit_code == 1
    assert '"failed":1' in result.stdout
    assert "could not be checked: 1;" in result.stderr


def test_an_interval_is_for_the_loop(shell: Shell) -> None:
    result = shell("check", "--interval", "1")

    assert result.exit_code == 2
    assert "--interval is for --loop" in result.stderr
