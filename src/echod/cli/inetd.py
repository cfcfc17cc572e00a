"""`echod inetd`: serve who is on descriptor 0, a socket or pipes, for inetd and its like (UNP 13.5, TLPI 60.5)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import time
from typing import TYPE_CHECKING

from echod.cli.context import Paths
from echod.cli.inherited import close_inherited
from echod.common.config.addresses import write_address
from echod.common.config.rules import Rules, pack_peer
from echod.common.config.settings import Config
from echod.common.errors import DONE, EchodError
from echod.common.reasons import NOT_ALLOWED, reason_of
from echod.common.scoreboard import RECEIVED, SENT
from echod.common.socket_options import set_options
from echod.log.log import Log, describe
from echod.log.rates import FOREVER
from echod.log.sinks import open_log
from echod.session.kinds import make_session
from echod.session.pipes import Pipes
from echod.session.session import Limits

if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from echod.session.session import Session

# in what socat, ncat and UCSPI servers say who the client is where they pass a socket or pipes of their own
PEER_VARIABLES = (
    ("SOCAT_PEERADDR", "SOCAT_PEERPORT"), ("NCAT_REMOTE_ADDR", "NCAT_REMOTE_PORT"), ("TCPREMOTEIP", "TCPREMOTEPORT"),
)  # fmt: skip


def inetd(args: Namespace) -> int:
    """Echo until the client is done. Raises EchodError when there is no connection."""
    close_inherited(3)  # socat's children have the other end of their own standard input, and would wait for its end
    config = Paths(args.config, args.options).load()
    client: Session | Pipes
    slot, conn, refused = Slot(config), connection(), ""
    if conn:
        address = conn.getpeername()
        is_tcp = conn.family != socket.AF_UNIX
        client = make_session(config if is_tcp else plain(config), slot)
        slot.peer = write_address(address) if is_tcp else named_peer() or "unix"
        refused = refusal(config, address) if is_tcp else ""
        redirect_output(conn)
        conn.setblocking(True)
        set_options(conn, config)
        conn.close()
    else:
        client, slot.peer = (
            Pipes(Limits(config.idle_timeout, config.max_lifetime, slot.drain_timeout)),
            named_peer() or "pipe",
        )
    log = Log(config, open_log(config.log, config.syslog_facility))
    counters = [0, 0, 0, 0, 0]
    signal.signal(signal.SIGTERM, lambda signum, _frame: client.end(signum))
    begun = time.monotonic()
    reason = refused or reason_of(client.run(0, counters, 0) << 8)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # socat sends it as soon as the connection is closed
    for fd in (0,) if conn else (0, 1):
        os.close(fd)
    served = counters[RECEIVED], counters[SENT], time.monotonic() - begun
    if line := describe(log, slot.peer, os.getpid(), reason, served):
        log.info(line)
    log.flush(FOREVER)
    return DONE


class Slot:
    """What the daemon's scoreboard is to a child: `peer` is the client, unless a load balancer names another one."""

    def __init__(self, config: Config) -> None:
        self._config, self.peer = config, ""

    def drain_timeout(self) -> float | None:
        """Return the setting in effect, in seconds, None for never."""
        return self._config.drain_timeout

    def write_text(self, _slot: int, text: str) -> None:
        """Take the name of the client."""
        self.peer = text


def plain(config: Config) -> Config:
    """Return the settings for a client that has no address: the peer of a Unix socket is in no network."""
    return Config(vars(config) | {"proxy_from": ()})


def refusal(config: Config, address: tuple[Any, ...]) -> str:
    """Return why a TCP client is refused, or "". The child of a load balancer's client decides about that client."""
    rules, peer = Rules(config), pack_peer(address)
    return "" if rules.proxy(peer) or rules.is_allowed(peer) else NOT_ALLOWED


def connection() -> socket.socket | None:
    """Return the connection on descriptor 0, None when there are pipes on 0 and 1. Raises EchodError."""
    if all(stat.S_ISFIFO(os.fstat(fd).st_mode) for fd in (0, 1)):
        return None
    with contextlib.suppress(OSError):
        conn = socket.socket(fileno=os.dup(0))
        if conn.getpeername() is not None and conn.type == socket.SOCK_STREAM:
            return conn
        conn.close()
    raise EchodError(
        "inetd: standard input is no connected socket (TCP or Unix), nor is it, with standard output, a pair of pipes; "
        "a super-server passes one"
    )


def named_peer() -> str:
    """Return who the client is, as the environment has it; "" when it does not tell."""
    for host, port in PEER_VARIABLES:
        if host in os.environ:
            return write_address((os.environ[host].strip("[]"), os.environ.get(port, "0")))
    return ""


def redirect_output(conn: socket.socket) -> None:
    """Send to /dev/null what would be written to the client: a super-server may have put its socket on 1 and 2, too."""
    client = os.fstat(conn.fileno())
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (1, 2):
        if os.path.samestat(os.fstat(fd), client):
            os.dup2(null, fd)
    os.close(null)
