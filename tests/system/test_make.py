"""`make start` and `make stop` as people who cloned the repository use them, and the environment they need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from support.wait import DEADLINE, need, need_network, need_root, skip

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = ROOT / ".ci" / "environment"
PARTS = ("Makefile", "pyproject.toml", "README.md", "LICENSE", ".ci", "src", "man", "etc", "systemd")

pytestmark = pytest.mark.timeout(600)  # installs, on any machine


def environment(where, *words, check=0):
    done = subprocess.run([ENVIRONMENT, ".venv", *words], cwd=where, capture_output=True, text=True)
    assert done.returncode == check, done
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a directory with an environment of this Python."""
    where = tmp_path_factory.mktemp("made in")
    environment(where, sys.executable)
    return where


@pytest.fixture
def copy(made, tmp_path):
    """Return a directory with a blank in its name and an environment in it that is of another place."""
    where = tmp_path / "moved here"
    shutil.copytree(made, where, symlinks=True)
    return where


def python(where):
    words = [where / ".venv/bin/python", "-c", "import sys; print(sys.version, sys.base_prefix)"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_an_environment_that_serves_stays(made):
    assert environment(made) == environment(made, sys.executable) == ""


def test_that_of_another_place_is_made_anew(copy):
    assert "making it anew" in environment(copy)
    assert str(copy / ".venv/bin/python") in (copy / ".venv/bin/pip").read_text()
    assert environment(copy) == ""


def test_that_of_a_python_that_is_gone_is_made_anew(made):
    link = made / ".venv/bin/python"
    link.unlink()
    link.symlink_to("/usr/bin/python3.10-that-is-gone")
    assert "making it anew" in environment(made, sys.executable)
    assert python(made)


def test_that_of_another_python_than_is_asked_for_is_made_anew(made):
    done = subprocess.run([ROOT / ".ci/pythons"], capture_output=True, text=True, check=True)
    other = [line.split()[1] for line in done.stdout.splitlines() if os.path.realpath(sys.executable) not in line]
    if not other:
        skip("another Python from 3.11 on")
    assert "making it anew" in environment(made, other[0])
    assert environment(made) == ""


def test_a_python_that_is_too_old_is_told(tmp_path):
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ -z "$2" ]\n')
    old.chmod(0o755)
    assert "needs Python 3.11 or later" in environment(tmp_path, old, check=1)
    assert not (tmp_path / ".venv").exists()


@pytest.fixture
def checkout(copy):
    """Return a copy of the sources, in a path with a blank, with an environment of another place in it."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, copy)
    return copy


class Machine:
    """Namespaces in which port 27978, /run/echod and the processes are the test's own."""

    def __init__(self):
        need_root()
        need("ip")
        words = [need("unshare"), "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]
        script = "mount -t tmpfs none /run && ip link set lo up && echo up && exec cat"
        self._holder = subprocess.Popen([*words, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._holder.stdout.readline() == b"up\n"
        self._init = psutil.Process(self._holder.pid).children()[0].pid

    def make(self, where, *targets, network=False):
        """Run make in the namespaces, or with the machine's network where it must install."""
        words = ["nsenter", "-t", str(self._init), "-m", "-r", "-p", *([] if network else ["-n"])]
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MAKE"))}
        words += ["make", "--no-print-directory", "-C", where, *targets]
        done = subprocess.run(words, capture_output=True, text=True, env=environ)
        assert done.returncode == 0, done
        return done.stdout + done.stderr

    def close(self):
        self._holder.communicate(timeout=DEADLINE)


@pytest.fixture
def machine():
    machine = Machine()
    yield machine
    machine.close()


def test_start_in_a_moved_checkout_and_stop_after_clean(machine, checkout):
    need_network()
    machine.make(checkout, ".venv/bin/echod", network=True)
    said = machine.make(checkout, "start")
    assert "received: hello" in said
    assert "Its log: syslog" in said
    assert ".venv/bin/echod status" in said
    machine.make(checkout, "clean")
    machine.make(checkout, ".venv/bin/echod", network=True)
    assert "not running" not in machine.make(checkout, "stop")
    assert "not running" in machine.make(checkout, "stop")
