"""The server's first file under `make coverage`: as `echod/boot.py`, with coverage and so with site."""

import os
import posix
import sys

import coverage

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
os.environ["COVERAGE_PROCESS_START"] = os.path.join(ROOT, "pyproject.toml")
os.environ["COVERAGE_FILE"] = os.path.join(ROOT, ".coverage-data", "echod")
coverage.process_startup()
posix._exit = os._exit  # type: ignore[assignment]  # coverage has replaced it: the children end with it and are counted

from echod.image import main  # noqa: E402 - counted from its first line

sys.exit(main(sys.argv[1:]))
