"""The Debian package, built once for all tests that need it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from support.packages import PYTHON_PACKAGES
from support.wait import need

ROOT = Path(__file__).parent.parent.parent
BUILD_DEPENDS = [f"/var/lib/dpkg/info/{name}.list" for name in PYTHON_PACKAGES]


def run(*words, **kwargs):
    """Run a command that must succeed and return what it printed."""
    done = subprocess.run(words, capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def build(directory):
    """Run `make deb` and return the directory with the package and its .changes."""
    for tool in ("dh", "dh_python3", "dpkg-buildpackage", *BUILD_DEPENDS):
        need(tool)
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MAKE"))}
    run("make", "-C", ROOT, "deb", f"BUILD={directory}/build", f"DIST={directory}/dist", env=environ)
    return directory / "dist"
