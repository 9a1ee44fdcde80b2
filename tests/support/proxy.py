"""A TCP proxy in this process that can lose exactly the next reply of a server, fall silent, or be slow."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections import deque
from contextlib import suppress
from enum import Enum, auto


class Loss(Enum):
    """What happens to the next reply after it has come from the server."""

    #: It is thrown away and the connection reset.
    RESET = auto()
    #: It is thrown away and the connection stays open, silent.
    HANG = auto()


class Proxy:
    """Between a client and a server on this machine. Use as a context manager; connect to `port`."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._losses: list[Loss | None] = []
        #: Nothing goes through in either direction while this is set; connections are accepted.
        self.is_blackhole = False
        #: Nothing goes through while this is set, and nothing is lost: as in a network that is parted for a while.
        self.is_held = False
        #: Everything goes through so much later, s.
        self.delay_s = 0.0
        self.lost = 0
        self._selector = selectors.DefaultSelector()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._clients: set[socket.socket] = set()
        self._silent: set[socket.socket] = set()
        #: What is on its way: when it is due, from where, and what.
        self._delayed: deque[tuple[float, socket.socket, bytes]] = deque()
        self._is_closing = False
        self._is_cutting = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def lose(self, *losses: Loss) -> None:
        """The next replies are lost like this, one after the other."""
        self._losses.extend(losses)

    def lose_after(self, replies: int, loss: Loss) -> None:
        """So many replies go through first."""
        self._losses.extend([*[None] * replies, loss])

    def cut(self) -> int:
        """Reset all connections that there are, and return how many that were."""
        count = len(self._clients)
        self._is_cutting.set()
        while self._is_cutting.is_set():
            time.sleep(0.005)
        return count

    def __enter__(self) -> Proxy:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closing = True
        self._thread.join()
        for one in [*self._peers, self._listener]:
            one.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._is_closing:
            for key, _ in self._selector.select(timeout=0.02 if not self._delayed else 0.002):
                source = key.fileobj
                assert isinstance(source, socket.socket)
                if source is self._listener:
                    self._accept()
                elif source in self._peers:
                    self._forward(source)
            self._deliver()
            if self._is_cutting.is_set():
                for client in list(self._clients):
                    self._reset(client)
                self._is_cutting.clear()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self._server_port))
        except OSError:  # the server is down, and so is the way to it
            client.close()
            return
        for one, other in ((client, server), (server, client)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peers[one] = other
            self._selector.register(one, selectors.EVENT_READ)
        self._clients.add(client)

    def _forward(self, source: socket.socket) -> None:
        try:
            data = source.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self._close(source)
        elif self.is_blackhole or source in self._silent:
            return
        elif source not in self._clients and (loss := self._losses.pop(0) if self._losses else None):
            self.lost += 1
            if loss is Loss.HANG:
                self._silent |= {source, self._peers[source]}
            else:
                self._reset(self._peers[source])
        elif self.delay_s or self.is_held or self._delayed:
            self._delayed.append((time.monotonic() + self.delay_s, source, data))
        else:
            self._send(source, data)

    def _deliver(self) -> None:
        """Everything that is due, in the order in which it came."""
        while self._delayed and not self.is_held and self._delayed[0][0] <= time.monotonic():
            _, source, data = self._delayed.popleft()
            if source in self._peers:
                self._send(source, data)

    def _send(self, source: socket.socket, data: bytes) -> None:
        with suppress(OSError):
            self._peers[source].sendall(data)

    def _reset(self, client: socket.socket) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._close(client)

    def _close(self, one: socket.socket) -> None:
        for end in (one, self._peers[one]):
            self._selector.unregister(end)
            del self._peers[end]
            self._clients.discard(end)
            self._silent.discard(end)
            end.close()
