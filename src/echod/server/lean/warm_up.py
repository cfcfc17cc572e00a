"""A rehearsal before the first client: the interpreter specialises code as it runs (PEP 659), and writes to it.

Without it every child would do so for itself, and copy the pages of its code. So `Children.spawn` is run here as it is,
in this process, with a fork that returns 0 and an exit that returns. The sessions are of the kind that the settings ask
for. The rules of `allow` and `deny` and the lines of `log_level = debug` are left out: a client would be refused, and
nothing has happened that a log should have.
"""

from __future__ import annotations

from _thread import stack_size

from echod.common.cmodules import os, signal, socket
from echod.common.config.networks import write_network
from echod.common.config.settings import Config
from echod.common.scoreboard import ENDED
from echod.log.log import INFO
from echod.server import children as module
from echod.server.acceptor import Acceptor
from echod.server.children import Children
from echod.server.lean import heap
from echod.session import bulk, proxy
from echod.session.kinds import make_session
from echod.session.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.server.board import Board

TIMES = 100  # sessions, after which all of the code is specialised
BULK_EVERY = 4  # sessions
LIFETIME_S = 3600.0  # in place of a lifetime that might end during the rehearsal
HEADER = b"PROXY TCP4 192.0.2.1 192.0.2.2 1024 7\r\n"
PLAIN = {"banner": "", "delay": 0.0, "close_after": None}  # such sessions need not be cheap
HOT = ((Acceptor, "accept"), (Children, "spawn"), (Children, "serve"), (Session, "run"), (Session, "_echo"))
# They return 0, or do nothing, and are built in, so that the code that calls them is specialised for such calls.
STAND_INS = {"fork": stack_size, "_exit": os.WIFEXITED, "closerange": os.makedev}
_kept: list[object] = []


def warm_up(children: Children, config: Config, board: Board) -> str:
    """Serve a few bytes, and bulk, on socket pairs. Return "", or where the session crashes. Raises OSError.

    A child catches whatever a session raises. A session that is broken would otherwise be noticed by the first client.
    """
    place = ""
    for owner, name in HOT:
        heap.copy_method(owner, name)
    _kept.extend(heap.begin_pools())
    lifetime = config.max_lifetime and LIFETIME_S
    config = Config(vars(config) | {"allow": (), "deny": (), "log_level": "info", "max_lifetime": lifetime} | PLAIN)
    real, peer_of = {name: getattr(module, name) for name in STAND_INS}, proxy.peer_of
    session, level, score_file = children.session, children.log.level, children.score_file
    children.score_file = b"/dev/null"  # the score would be that of this process
    vars(module).update(STAND_INS)
    children.log.level = INFO
    children.session = make_session(config, board)
    if config.proxy_from:
        balancer = write_network(config.proxy_from[0]).partition("/")[0]
        vars(proxy)["peer_of"] = lambda _conn: (balancer, 0)
    try:
        for number in range(TIMES):
            fd = _serve_ourselves(children, HEADER * bool(config.proxy_from), number % BULK_EVERY == 0)
            slot = children.table[0].slot
            place = place or ("" if board.words[slot + ENDED] else board.read_text(slot))
            children.forget(0)
    finally:
        vars(module).update(real)
        vars(proxy)["peer_of"] = peer_of
        children.session, children.log.level, children.score_file = session, level, score_file
        if config.max_lifetime:  # the sessions have set the timer and its handler: for this process
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
    if not place:  # else the bulk has not been read
        bulk.forget(fd)
    heap.free_reserved()
    return place


def _serve_ourselves(children: Children, header: bytes, is_bulk: bool) -> int:
    """Be a client of this process, which takes itself for a child; return the descriptor, the same each time."""
    here, peer = socket.socketpair()
    peer.send(header + (bytes(bulk.FIRST_READ_BYTES + bulk.BULK_BYTES) if is_bulk else b"echo"))
    peer.shutdown(socket.SHUT_WR)
    fd = here.fileno()
    children.spawn(fd, ("", 0))
    peer.close()
    here.close()
    return fd
