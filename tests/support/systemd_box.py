"""This machine's systemd, booted in namespaces of its own by the script `systemd-box`, with a root shell in it."""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import subprocess
import sys
from pathlib import Path

import daemon
import lockfile
import pytest

import echod as package
from support.wait import DEADLINE, need, need_root

HERE = Path(__file__).parent
UNITS = HERE.parent.parent / "systemd"
MARK = "--done--"
LONGEST = 3 * DEADLINE  # seconds for a command
# Packages are bound below /opt, for a service may see neither /tmp nor anybody's home.
COMMAND = """#!{python} -I
import sys
sys.path[:0] = {paths}
from echod.__main__ import {name}
sys.exit({name}())
"""


class Box:
    """A booted systemd with `units` in /etc/systemd/system.

    `binds` maps paths of this machine to where the box shows them, read-only; `shared` likewise, writable.
    """

    def __init__(self, *units, binds=None, shared=None):
        need_root()
        for tool in ("systemctl", "dbus-daemon", "setpriv", "unshare"):
            need(tool)
        words = [str(HERE / "systemd-box")]
        for option, paths in (("--bind-ro", binds or {}), ("--bind", shared or {})):
            for source, target in paths.items():
                words += [option, f"{source}:{target}"]
        for unit in units:
            words += ["--unit", str(unit)]
        self.shell = subprocess.Popen([*words, "bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, command, code=0):
        """Run a shell command in the box and return what it printed; `code` is what it must exit with, None for any."""
        self.shell.stdin.write(f"{{ {command}\n}} 2>&1 </dev/null; echo {MARK}$?\n".encode())
        self.shell.stdin.flush()
        said, output = "", self.shell.stdout.fileno()
        while not (end := re.search(rf"{MARK}(\d+)\n$", said)):
            if not select.select([output], [], [], LONGEST)[0]:
                pytest.fail(f"no end of {command} in {LONGEST} s, but {said}")
            more = os.read(output, 1 << 16)
            assert more, "the box has gone"
            said += more.decode(errors="replace")
        said = said[: end.start()]
        if code is not None and int(end[1]) != code:
            pytest.fail(f"{command} exited {end[1]}: {said}\n{self.run('journalctl --no-pager -n 50', None)}")
        return said

    def write(self, path, text):
        """Write a file in the box."""
        self.run(f"mkdir -p {os.path.dirname(path)}; printf %s {shlex.quote(text)} > {path}")

    def show(self, what, unit="echod.service"):
        """Return a property of a unit."""
        return self.run(f"systemctl show --value -p {what} {unit}").strip()

    def journal(self, *options, unit="echod.service"):
        """Return the messages that a unit has logged."""
        return self.run(f"journalctl --no-pager -o cat -u {unit} {' '.join(options)}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """End the box and all that is in it."""
        self.shell.stdin.close()
        try:
            self.shell.wait(DEADLINE)
        except subprocess.TimeoutExpired:  # a command that does not end
            self.shell.terminate()
            self.shell.wait(DEADLINE)
            raise
        finally:
            self.shell.stdout.close()


class EchodBox(Box):
    """A box with /usr/bin/echod, /usr/bin/echoc and /etc/echod.conf, which run the code under test."""

    def __init__(self, home, *units, config="", binds=None, shared=None):
        need("nc.openbsd")
        super().__init__(*units, binds=commands(home) | (binds or {}), shared=shared)
        self.configure(config)

    def configure(self, config):
        """Write the settings."""
        self.write("/etc/echod.conf", f"[echod]\n{config}\n")

    def echo(self, text, port=27978, code=0):
        """Return what came back for a text."""
        return self.run(f"printf %s {shlex.quote(text)} | nc.openbsd -N 127.0.0.1 {port}", code)

    def status(self):
        """Return the status of the daemon with the default pid file."""
        return json.loads(self.run("echod status --json"))


def commands(home):
    """Make commands for a box in a directory of this machine, and return the binds that they need."""
    roots = sorted({str(Path(str(module.__file__)).parent.parent) for module in (package, daemon, lockfile)})
    binds = {root: f"/opt/echod/{number}" for number, root in enumerate(roots)}
    paths, python = list(binds.values()), os.path.realpath(sys.executable)
    for name in ("echod", "echoc"):
        command = home / name
        command.write_text(COMMAND.format(python=python, paths=paths, name=name))
        command.chmod(0o755)
        binds[str(command)] = f"/usr/bin/{name}"
    return binds
