"""`echod inetd`: serve the one connected socket on descriptor 0, for inetd and its like (UNP 13.5, TLPI 60.5)."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import TYPE_CHECKING

from echod.cli.paths import Paths
from echod.common.config.addresses import write_address
from echod.common.errors import DONE, EchodError, from_os_error
from echod.common.reasons import reason_of
from echod.common.sockets import set_options
from echod.server.log.log import Log
from echod.server.log.open import open_sink
from echod.server.session import RECEIVED, SENT, Limits, Session

if TYPE_CHECKING:
    from argparse import Namespace


def inetd(args: Namespace) -> int:
    """Echo on descriptor 0 until the client is done. Raises EchodError when it is no connected TCP socket."""
    config = Paths(args.config, args.options).load()
    try:
        conn = socket.socket(fileno=os.dup(0))
        peer = write_address(conn.getpeername())
    except (OSError, IndexError):
        raise EchodError("inetd: standard input is no connected TCP socket; a super-server passes one") from None
    redirect_output(conn)
    conn.setblocking(True)
    set_options(conn, config)
    try:
        log = Log(config, open_sink(config.log, config.syslog_facility))
    except OSError as error:
        raise from_os_error("cannot open the log", error) from None
    counters = [0, 0, 0, 0, 0]
    client = Session(Limits(config.idle_timeout, config.max_lifetime, lambda: config.drain_timeout))
    signal.signal(signal.SIGTERM, lambda signum, _frame: client.end(signum))
    conn.close()
    begun = time.monotonic()
    reason = reason_of(client.run(0, counters, 0) << 8)
    os.close(0)
    if log.clients:
        log.info(
            f"close peer={peer} child={os.getpid()} reason={reason} "
            f"in={counters[RECEIVED]} out={counters[SENT]} secs={time.monotonic() - begun:.3f}"
        )
    return DONE


def redirect_output(conn: socket.socket) -> None:
    """Send to /dev/null what would be written to the client: a super-server may have put its socket on 1 and 2, too."""
    client = os.fstat(conn.fileno())
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (1, 2):
        if os.path.samestat(os.fstat(fd), client):
            os.dup2(null, fd)
    os.close(null)
