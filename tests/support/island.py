"""A network of its own for some programs, joined to this machine's by a cable that a test can pull."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from random import SystemRandom
from types import TracebackType

from tests.support.services import not_permitted


class Island:
    """A network namespace of Linux. Use as a context manager; skips the test where nobody may make one."""

    def __init__(self) -> None:
        number = SystemRandom().randrange(1 << 14)
        self._name = f"trellis-{os.getpid()}"
        self._cable = f"tr{number:x}"
        net, host = divmod(number * 4, 256)
        #: The addresses of the two ends, on this machine and on the island.
        self.main_address, self.address = (f"10.213.{net}.{host + end}" for end in (1, 2))
        #: Before a command: it runs on the island.
        self.prefix: Sequence[str] = ("ip", "netns", "exec", self._name)

    def cut(self) -> None:
        """Nothing gets through, and nobody is told."""
        self._ip("link", "set", self._cable, "down")

    def join(self) -> None:
        self._ip("link", "set", self._cable, "up")

    def __enter__(self) -> Island:
        if shutil.which("ip") is None:
            not_permitted("there is no iproute2 here")
        if subprocess.run(["ip", "netns", "add", self._name], check=False, capture_output=True).returncode != 0:
            not_permitted("nobody may make a network here")
        there = f"{self._cable}i"
        self._ip("link", "add", self._cable, "type", "veth", "peer", "name", there, "netns", self._name)
        self._ip("addr", "add", f"{self.main_address}/30", "dev", self._cable)
        self._ip("-n", self._name, "addr", "add", f"{self.address}/30", "dev", there)
        self._ip("-n", self._name, "link", "set", there, "up")
        self._ip("-n", self._name, "link", "set", "lo", "up")
        self.join()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._ip("netns", "delete", self._name)  # and with it the cable

    @staticmethod
    def _ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)
