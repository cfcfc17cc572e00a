from __future__ import annotations

import os
import shutil
import subprocess
import sys

from echod.common.errors import FAILED
from support.daemon import SOURCE
from support.wait import DEADLINE


def boot(package, *args, **environ):
    """Run the server's first file as the launcher does, in an environment of its own."""
    command = [sys.executable, "-I", "-S", str(package / "server" / "boot.py"), "config_file=/dev/null", *args]
    return subprocess.run(command, capture_output=True, text=True, env=environ, cwd="/", timeout=DEADLINE)


def test_it_finds_the_package_and_its_exit_code_is_mains():
    done = boot(SOURCE)
    message = "echod: LISTEN_PID is not this process: no sockets were passed\n"
    assert (done.returncode, done.stdout, done.stderr) == (FAILED, "", message)


def test_it_finds_the_package_whose_file_it_is_whatever_the_path(tmp_path):
    place = tmp_path / "a path with ünicode" / "echod"
    place.mkdir(parents=True)
    for name in ("server", "session", "log", "common"):
        shutil.copytree(SOURCE / name, place / name)
    shutil.copy(SOURCE / "__init__.py", place)
    done = boot(place, PYTHONPATH="/nowhere", PYTHONDONTWRITEBYTECODE="1")
    assert done.stderr == "echod: LISTEN_PID is not this process: no sockets were passed\n"


def test_a_bad_config_has_its_exit_code_and_is_told_on_the_notification_descriptor():
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    command = [sys.executable, "-I", "-S", str(SOURCE / "server" / "boot.py")]
    arguments = ["config_file=/dev/null", "set=backlog=many", f"ready_fd={write_end}"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, env={}, pass_fds=[write_end])
    os.close(write_end)
    with open(read_end) as reader:
        reply = reader.read()
    assert done.returncode == 6
    assert done.stderr.startswith("echod: -o backlog=many: is not a whole number")
    assert reply == f"6 {done.stderr.strip().removeprefix('echod: ')}"
