"""The system calls that are made for every client, by their own names.

They are imported one by one: looking each of them up in its module would cost every client a little more memory.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import _exit, close, closerange, fork, read, readv, waitpid, write
    from os import open as open_file
else:
    from posix import _exit, close, closerange, fork, read, readv, waitpid, write
    from posix import open as open_file

__all__ = ["_exit", "close", "closerange", "fork", "open_file", "read", "readv", "waitpid", "write"]
