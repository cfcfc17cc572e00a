"""`os`, `socket` and `signal` as their C modules: the same calls without the enums and wrappers in Python.

A forking server pays for every page its parent has touched. `socket` and `signal` import `enum`, and `os` imports more;
all of that is memory of the forking process. The C modules beneath them need next to none, and the calls a server makes
are all there, but for `socket.accept`, which `_accept` gives as a bare descriptor and an address.
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

LONG = memoryview(bytes(8)).cast("l").itemsize  # bytes of a C long, and of a pointer

__all__ = ["LONG", "environ", "os", "signal", "socket"]
