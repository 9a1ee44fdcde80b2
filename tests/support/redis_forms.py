"""The forms in which people run Redis: behind a socket file, with TLS, with Sentinel, as a cluster, as a replica."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from tests.support.programs import Program, free_port, is_listening
from tests.support.services import missing
from tests.support.waiting import eventually

MASTER_NAME = "trellis"
_SLOTS = 16_384


@dataclass(frozen=True)
class Place:
    """Where a store is, as `trellis_url` and `trellis_transport_options` say it."""

    url: str
    transport_options: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def over_unix_socket(directory: Path) -> Iterator[Place]:
    socket = directory / "redis.sock"
    with _server(directory, "unix", "--port", "0", "--unixsocket", str(socket)) as server:
        server.wait_until(socket.exists)
        yield Place(f"redis+socket://{socket}")


@contextmanager
def over_tls(directory: Path) -> Iterator[Place]:
    """A server that speaks TLS only, with a certificate it signed itself."""
    certificate, key = _self_signed(directory)
    port = free_port()
    files = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(certificate))
    options = ("--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no", *files)
    with _server(directory, "tls", *options) as server:
        eventually(lambda: is_listening(port) or not server.is_running, what="the server with TLS up")
        if "Bad directive" in server.output:
            missing("this redis-server was built without TLS")
        yield Place(f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=required&ssl_ca_certs={certificate}")


@contextmanager
def replicated(directory: Path) -> Iterator[tuple[int, int]]:
    """The ports of a master and of its replica, which is read-only."""
    with ExitStack() as stack:
        master = _listening(stack, directory, "master")
        replica = _listening(stack, directory, "replica", "--replicaof", "127.0.0.1", str(master))
        client = stack.enter_context(redis.Redis(port=replica))
        eventually(lambda: client.info("replication")["master_link_status"] == "up", what="the replica in step")
        yield master, replica


@contextmanager
def with_sentinel(directory: Path) -> Iterator[Place]:
    """A master, a replica and a Sentinel."""
    with replicated(directory) as (master, replica):
        port = free_port()
        config = directory / "sentinel.conf"
        config.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor {MASTER_NAME} 127.0.0.1 {master} 1\n")
        sentinel = Program([_binary(), config, "--sentinel"], name="sentinel", directory=directory)
        try:
            sentinel.wait_until(lambda: is_listening(port))
            with redis.Redis(port=port, decode_responses=True) as client:
                known = lambda: [int(one["port"]) for one in client.sentinel_slaves(MASTER_NAME)]  # noqa: E731
                eventually(lambda: known() == [replica], what="the replica known to the Sentinel")
            yield Place(f"sentinel://127.0.0.1:{port}/0", {"master_name": MASTER_NAME})
        finally:
            sentinel.kill()


@contextmanager
def as_cluster(directory: Path, nodes: int = 3) -> Iterator[Place]:
    """A cluster of masters."""
    with ExitStack() as stack:
        ports = [
            _listening(
                stack,
                directory,
                f"node-{number}",
                *("--cluster-enabled", "yes", "--cluster-config-file", f"nodes-{number}.conf"),
            )
            for number in range(nodes)
        ]
        clients = [stack.enter_context(redis.Redis(port=port, decode_responses=True)) for port in ports]
        for number, client in enumerate(clients):
            first, last = (_SLOTS * part // nodes for part in (number, number + 1))
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, last - 1)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for port in ports[1:]:
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", port)
        for client in clients:
            eventually(lambda client=client: _is_whole(client, nodes), what="the cluster whole")
        yield Place(f"redis+cluster://127.0.0.1:{ports[0]}")


def _is_whole(client: Any, nodes: int) -> bool:
    info = client.execute_command("CLUSTER INFO")
    return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == nodes


def _listening(stack: ExitStack, directory: Path, name: str, *options: str) -> int:
    port = free_port()
    server = stack.enter_context(_server(directory, name, "--port", str(port), *options))
    server.wait_until(lambda: is_listening(port))
    return port


@contextmanager
def _server(directory: Path, name: str, *options: str) -> Iterator[Program]:
    own = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(directory))
    server = Program([_binary(), *own, *options], name=name, directory=directory)
    try:
        yield server
    finally:
        server.kill()


def _binary() -> str:
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        missing("there is no redis-server on the path")
    return binary


def _self_signed(directory: Path) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        missing("there is no openssl on the path")
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(key))
    command = [openssl, "req", "-x509", "-days", "2", *subject, *new_key, "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key
