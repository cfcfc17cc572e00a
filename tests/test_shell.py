"""What is written for a shell: shellcheck has nothing to say of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support.wait import need

ROOT = Path(__file__).parent.parent


def scripts():
    """Return the files that begin as a shell script does, of those that are the project's."""
    found = []
    for directory, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name == ".ci" or not name.startswith(".")]
        for name in files:
            path = Path(directory) / name
            if not path.is_file():
                continue
            with path.open("rb") as file:
                if file.readline(80).startswith((b"#!/bin/sh", b"#!/bin/bash")):
                    found.append(str(path.relative_to(ROOT)))
    return sorted(found)


def test_the_scripts_are_found():
    assert {".ci/run", ".ci/environment", "tests/support/systemd-box"} <= set(scripts())


@pytest.mark.parametrize("path", scripts())
def test_shellcheck(path):
    done = subprocess.run([need("shellcheck"), path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
