"""Execute the installed version in the place of a process: of the daemon, or of a child that is its trial.

Descriptors are handed on by their numbers, with what a successor needs to know: see `handover`. The rest is on the
scoreboard.
"""

from __future__ import annotations

import sys

from echod import __version__
from echod.common.cmodules import environ, os
from echod.common.errors import FAILED
from echod.server.failures import reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from echod.common.handover import Handover
    from echod.common.sockets import Listener
    from echod.server.children import Children

TRIAL = "--trial"


def collect(handover: Handover, children: Children, listeners: list[Listener]) -> None:
    """Have the handover say how things are. Raises OSError."""
    handover.sockets = [listener.fd for listener in listeners]
    handover.addresses = [listener.address for listener in listeners]
    handover.children = [(pid, one.slot, int(one.named), one.address) for pid, one in children.table.items()]
    handover.version, handover.lost = __version__, children.log.sink.lost
    handover.ready_fd = -1
    handover.write_state()


def execute(handover: Handover, *options: str) -> None:
    """Execute the installed version as this process was executed itself. Raises OSError."""
    for fd in (*handover.sockets, handover.pid_fd, handover.board_fd, handover.oom_fd, handover.state_fd):
        if fd >= 0:
            os.set_inheritable(fd, True)
    program = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
    os.execve(sys.executable, [*program, *options, *handover.to_words()], environ)


def fork_trial(handover: Handover, output: int) -> int:
    """Fork a child that executes the installed version with `--trial`; returns its pid. Raises OSError.

    It writes to the descriptor `output`.
    """
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(output, 1)
            os.dup2(output, 2)
            execute(handover, TRIAL)
        except OSError as error:
            os.write(1, f"{FAILED} cannot execute {sys.executable}: {reason(error)}\n".encode())
        finally:
            os._exit(FAILED)  # noqa: SLF001
    return pid
