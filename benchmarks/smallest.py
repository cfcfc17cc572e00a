"""smallest PORT: the smallest forking server in Python, which separates echod's cost from the interpreter's.

It accepts, forks, echoes and reaps, on the C modules alone: no log, no limits, no counters, no reload.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import gc
import posix
import select
import sys


def serve(port: int) -> None:
    """Serve until killed. One function, as each object that a connection passes costs pages to copy."""
    fork, close, read, write, waitpid, leave = (
        posix.fork, posix.close, posix.read, posix.write, posix.waitpid, posix._exit,  # noqa: SLF001
    )  # fmt: skip
    listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0)
    listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(4096)
    accept, listening = getattr(listener, "_accept"), listener.fileno()  # noqa: B009
    read_end, write_end = posix.pipe2(posix.O_NONBLOCK)
    _signal.set_wakeup_fd(write_end)
    _signal.signal(_signal.SIGCHLD, lambda _signum, _frame: None)
    poller = select.poll()
    poller.register(listening, select.POLLIN)
    poller.register(read_end, select.POLLIN)
    gc.disable()
    while True:
        for fd, _event in poller.poll():
            if fd == listening:
                conn, _peer = accept()
                if fork() == 0:
                    while data := read(conn, 16384):
                        write(conn, data)
                    leave(0)
                close(conn)
                continue
            read(read_end, 4096)
            try:
                while waitpid(-1, posix.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                pass


if __name__ == "__main__":
    serve(int(sys.argv[1]))
