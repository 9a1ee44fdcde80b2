from __future__ import annotations

import os
import signal
import threading
import time

from trellis_celery.cli.ending import ending_by


def test_without_a_signal_the_end_does_not_come() -> None:
    with ending_by(signal.SIGINT) as ending:
        assert not ending.comes_within(0.01)


def test_once_it_was_asked_for_the_end_is_always_there() -> None:
    with ending_by(signal.SIGINT) as ending:
        signal.raise_signal(signal.SIGINT)

        assert [ending.comes_within(0), ending.comes_within(30)] == [True, True]


def test_a_signal_ends_a_wait_at_once() -> None:
    with ending_by(signal.SIGTERM) as ending:
        timer = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGTERM])
        timer.start()
        began_s = time.monotonic()

        assert ending.comes_within(60)

        assert time.monotonic() - began_s < 30
        timer.join()


def test_a_signal_in_a_destructor_is_not_lost() -> None:
    class Dying:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    with ending_by(signal.SIGINT) as ending:
        Dying()

        assert ending.comes_within(0)


def test_afterwards_signals_do_what_they_did_before() -> None:
    before = signal.getsignal(signal.SIGINT)

    with ending_by(signal.SIGINT):
        pass

    assert signal.getsignal(signal.SIGINT) is before
