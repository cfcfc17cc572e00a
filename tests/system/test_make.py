"""`make start` and `make stop` as people who cloned the repository use them, and the environment they need.

Nothing here needs a network or waits for ensurepip, which takes most of the time of `python -m venv`. An environment
that only has to be judged is made by a Python whose `-m venv` makes two files and whose `-m pip` writes down its
arguments: LIGHT. The one in which echod runs is made by a Python that leaves pip out: WITHOUT_PIP. It uses the packages
of the suite's environment.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import lockfile
import psutil
import pytest

from support.wait import DEADLINE, need, need_root, skip

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = ROOT / ".ci" / "environment"
PARTS = ("Makefile", "pyproject.toml", "README.md", "LICENSE", ".ci", "src", "man", "completions", "etc", "systemd")
SYSLOG = "import socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).bind('/dev/log')"
LIGHT = """#!/bin/sh
case "$1 $2" in
"-m venv")
    rm -rf "$4" && mkdir -p "$4/bin" && echo "#!$PWD/$4/bin/python" >"$4/bin/pip" && cp "$0" "$4/bin/python" ;;
"-m pip")
    shift 2 && echo "$*" >>pip.log ;;
*)
    exec {python} "$@" ;;
esac
"""
WITHOUT_PIP = """#!/bin/sh
case "$1 $2" in
"-m venv")
    {python} -m venv --without-pip "$3" "$4" && echo "#!$PWD/$4/bin/python" >"$4/bin/pip" ;;
*)
    exec {python} "$@" ;;
esac
"""
# A machine without a log: nothing of the real /dev and /run is in it.
MACHINE = """
mount -t tmpfs none /run && mkdir /run/dev && mount -t tmpfs none /run/dev && cd /run/dev &&
for device in null zero full random urandom; do touch $device && mount --bind /dev/$device $device || exit; done &&
mount --move /run/dev /dev && ip link set lo up && echo up && exec cat
"""

pytestmark = pytest.mark.timeout(600)  # makes environments, on any machine


def environment(where, python="", *, check=0):
    done = subprocess.run([ENVIRONMENT, ".venv", python], cwd=where, capture_output=True, text=True)
    assert done.returncode == check, done
    return done.stdout + done.stderr


def light(where, python, script=LIGHT):
    """Return a Python like `python` that makes other environments."""
    path = where / f"light-{os.path.basename(python)}"
    path.write_text(script.format(python=python))
    path.chmod(0o755)
    return path


@pytest.fixture
def made(tmp_path):
    """Return a directory with a blank in its name and an environment in it."""
    where = tmp_path / "made in"
    where.mkdir()
    environment(where, light(tmp_path, sys.executable))
    return where


def moved(made):
    """Move a directory with an environment in it."""
    return made.rename(made.with_name("moved here"))


def names_its_place(where):
    return str(where / ".venv/bin/python") in (where / ".venv/bin/pip").read_text()


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="needs a virtual environment")
def test_the_commands_of_an_environment_name_its_place():
    assert f"{sys.prefix}/bin/python" in Path(sys.prefix, "bin/pip").read_text()


def test_an_environment_that_serves_stays(made, tmp_path):
    assert environment(made) == environment(made, light(tmp_path, sys.executable)) == ""


def test_that_of_another_place_is_made_anew(made, tmp_path):
    where = moved(made)
    assert "making it anew" in environment(where, light(tmp_path, sys.executable))
    assert names_its_place(where)
    assert environment(where) == ""


def test_that_of_a_python_that_is_gone_is_made_anew(made, tmp_path):
    link = made / ".venv/bin/python"
    link.unlink()
    link.symlink_to("/usr/bin/python3.10-that-is-gone")
    assert "making it anew" in environment(made, light(tmp_path, sys.executable))
    assert environment(made) == ""


def test_that_of_another_python_than_is_asked_for_is_made_anew(made, tmp_path):
    done = subprocess.run([ROOT / ".ci/pythons"], capture_output=True, text=True, check=True)
    other = [line.split()[1] for line in done.stdout.splitlines() if os.path.realpath(sys.executable) not in line]
    if not other:
        skip("another Python from 3.11 on")
    assert "making it anew" in environment(made, light(tmp_path, other[0]))
    assert environment(made) == ""


def test_a_python_that_is_too_old_is_told(tmp_path):
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ -z "$2" ]\n')
    old.chmod(0o755)
    assert "needs Python 3.11 or later" in environment(tmp_path, old, check=1)
    assert not (tmp_path / ".venv").exists()


def copy_sources(where):
    """Copy what `make start` needs."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, where / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, where)
    return where


def make(where, *words, check=0, prefix=(), **environ):
    """Run make and return what it printed."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MAKE", "PIP"))}
    command = [*prefix, "make", "--no-print-directory", "-C", where, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=keep | environ)
    assert done.returncode == check, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_nothing_is_installed_twice(made, tmp_path):
    where = copy_sources(moved(made))
    targets = [f".venv/bin/{name}" for name in ("pytest", "ruff", "echod")]
    python = f"PYTHON={light(tmp_path, sys.executable)}"
    for target in targets + targets:
        make(where, target, python)
    calls = (where / "pip.log").read_text().splitlines()
    assert [call.partition("pip-version-check ")[2].split()[0] for call in calls] == [
        "--editable",
        "--requirement",
        "--requirement",
    ]
    with (where / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert "installing echod and its three dependencies into .venv" in make(where, ".venv/bin/echod", python)


def test_all_that_is_installed_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    lists = [project["build-system"]["requires"], project["project"]["dependencies"], *extras]
    pins = re.findall("^([^#=]+)==[0-9a-z.]+$", (ROOT / ".ci/constraints.txt").read_text(), re.MULTILINE)
    assert {re.split(r"[=><\[]", name)[0] for names in lists for name in names} <= set(pins), "make pins"


class Machine:
    """Namespaces in which port 27978, /run, /dev and the processes are the test's own, and no network is reached."""

    def __init__(self):
        need_root()
        need("ip")
        words = [need("unshare"), "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]
        self._holder = subprocess.Popen([*words, MACHINE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._holder.stdout.readline() == b"up\n"
        init = psutil.Process(self._holder.pid).children()[0].pid
        self.prefix = ["nsenter", "-t", str(init), "-m", "-r", "-p", "-n"]

    def make(self, where, *words, **kwargs):
        return make(where, *words, prefix=self.prefix, **kwargs)

    def run(self, *words):
        subprocess.run([*self.prefix, *words], check=True)

    def close(self):
        self._holder.communicate(timeout=DEADLINE)


@pytest.fixture
def machine():
    machine = Machine()
    yield machine
    machine.close()


@pytest.fixture
def checkout(made):
    """Return a copy of the sources, in a path with a blank, with an environment of another place in it."""
    return copy_sources(moved(made))


def install(machine, checkout, tmp_path):
    """Run what `make start` runs first, with this environment's packages instead of a registry's."""
    packages = str(Path(lockfile.__file__).parent.parent)
    said = machine.make(
        checkout, ".venv/bin/echod", f"PYTHON={light(tmp_path, sys.executable, WITHOUT_PIP)}", PYTHONPATH=packages,
        PIPFLAGS="--no-index --no-build-isolation",
    )  # fmt: skip
    where = next((checkout / ".venv/lib").glob("python3*/site-packages"))
    (where / "packages.pth").write_text(packages)
    return said


def test_start_in_a_moved_checkout_and_stop_after_clean(machine, checkout, tmp_path):
    said = install(machine, checkout, tmp_path)
    assert "making it anew" in said
    assert "installing echod and its three dependencies into .venv" in said
    assert names_its_place(checkout)
    machine.run("mount", "--bind", "/dev/null", "/etc/hosts")

    said = machine.make(checkout, "start")
    assert "received: hello" in said
    assert "installing" not in said
    assert "this machine has no syslog" in said
    assert ".venv/bin/echod status" in said
    assert ".venv is kept" in machine.make(checkout, "clean")
    assert machine.make(checkout, "stop") == ""
    assert "not running" in machine.make(checkout, "stop")

    machine.run(sys.executable, "-c", SYSLOG)
    assert "Its log: syslog" in machine.make(checkout, "start")
    (checkout / ".venv").rename(checkout / "removed")
    assert ".venv was removed" in machine.make(checkout, "stop", check=2)
    (checkout / "removed").rename(checkout / ".venv")
    machine.make(checkout, "stop")
    assert "kept" not in machine.make(checkout, "clean")
    assert not (checkout / ".venv").exists()
    assert "not running" in machine.make(checkout, "stop")
