"""The server's first file under `make coverage`: as server/boot.py, but with site, which has started coverage."""

import os
import posix
import sys
import threading

import coverage

# a signal handler may run, and be traced, while the tracer holds its lock in the same thread
coverage.Coverage.current()._collector.data_lock = threading.RLock()  # type: ignore[union-attr]
posix._exit = os._exit  # coverage has replaced it: the children end with it, and are counted

from echod.server.main import main  # noqa: E402 - not before it is counted

sys.exit(main(sys.argv[1:]))
