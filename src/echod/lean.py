"""`os`, `socket` and `signal` as their C modules: the same calls without the enums and wrappers in Python.

A forking server pays for every page its parent has touched. `socket` and `signal` import `enum`, which costs the
forking process 1.3 MiB; `os` costs another 0.25 MiB. The C modules beneath them cost next to nothing, and the calls a
server makes are all there, but for `socket.accept`, which `_accept` gives as a bare descriptor and an address.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    import signal
    import socket

    environ = os.environb
else:
    import _signal as signal
    import _socket as socket
    import posix as os

    environ = os.environ

__all__ = ["environ", "os", "signal", "socket"]
