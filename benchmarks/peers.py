"""The servers compared, each as people set it up: many clients allowed, a deep backlog, echod with its log on."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import pwd
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from generator import HERE, HOST, BenchmarkError, compile_c
from servers import STDERR, Peer

if TYPE_CHECKING:
    from collections.abc import Iterator

BACKLOG = 4096
CHILDREN = 20000


def output_of(*command: str) -> str:
    """Return a program's output, stdout and stderr."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout


def release(text: str) -> str:
    """Return the first thing in it that looks like a version."""
    found = re.search(r"\d+(\.\d+)+", text)
    return found[0] if found else "unknown"


class Echod(Peer):
    """The daemon, through its own commands, from the environment that runs the benchmark.

    `source` is the folder of another copy of the package, and `settings` are more lines of its config file.
    """

    name, title = "echod", "echod"
    program = os.path.join(os.path.dirname(sys.executable), "echod")

    def __init__(self, source: str = "", settings: str = "") -> None:
        self.settings = settings
        self.words = [sys.executable, "-P", "-m", "echod"] if source else [self.program]
        self.environment = {**os.environ, "PYTHONPATH": source} if source else None

    def version(self) -> str:
        """Return the installed release."""
        return importlib.metadata.version("echod")

    @contextlib.contextmanager
    def launched(self, port: int, directory: str) -> Iterator[int]:
        """Start and stop by its commands; the pid is the pid file's."""
        config, pid_file = os.path.join(directory, "echod.conf"), os.path.join(directory, "echod.pid")
        with open(config, "w") as file:
            file.write(
                f"[echod]\nlisten = {HOST}:{port}\npid_file = {pid_file}\nlog = {log_file(directory)}\n"
                f"log_clients = yes\nmax_children = {CHILDREN}\n{self.settings}"
            )
        self.call(config, "start")
        try:
            with open(pid_file) as file:
                pid = int(file.read())
            yield pid
        finally:
            self.call(config, "stop")

    def call(self, config: str, verb: str) -> None:
        """Run one of its commands."""
        command = [*self.words, "-c", config, verb]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self.environment)
        if done.returncode:
            raise BenchmarkError(f"{verb}: exit code {done.returncode}: {done.stderr.strip()}")


def log_file(directory: str) -> str:
    """Return a path that the daemon's user can open, in a directory that is its own: root's daemon becomes nobody."""
    logs = os.path.join(directory, "log")
    os.mkdir(logs)
    if os.geteuid() == 0:
        os.chmod(directory, 0o755)
        os.chown(logs, pwd.getpwnam("nobody").pw_uid, -1)
    with open(os.path.join(directory, STDERR), "w") as file:
        file.write(f"see {logs}")
    return os.path.join(logs, "echod.log")


class Textbook(Peer):
    """The yardstick: textbook.c."""

    name, title, program = "textbook", "C textbook", "cc"

    def version(self) -> str:
        """Return the compiler's release."""
        return f"cc {release(output_of('cc', '--version'))} -O2"

    def command(self, port: int, directory: str) -> list[str]:
        """Compile it and serve."""
        return [compile_c(directory, "textbook", "textbook.c"), str(port)]


class Xinetd(Peer):
    """The echo that is built into xinetd, with its limits lifted."""

    name, title, program = "xinetd", "xinetd echo", "xinetd"

    def version(self) -> str:
        """Return the release."""
        return release(output_of("xinetd", "-version"))

    def command(self, port: int, directory: str) -> list[str]:
        """Write its configuration and serve."""
        config = os.path.join(directory, "xinetd.conf")
        user = pwd.getpwuid(os.geteuid()).pw_name
        with open(config, "w") as file:
            file.write(
                f"service echo\n{{\n type = INTERNAL UNLISTED\n socket_type = stream\n protocol = tcp\n wait = no\n"
                f" user = {user}\n bind = {HOST}\n port = {port}\n instances = UNLIMITED\n per_source = UNLIMITED\n"
                f" cps = 1000000 1\n}}\n"
            )
        return ["xinetd", "-dontfork", "-f", config, "-pidfile", os.path.join(directory, "xinetd.pid")]


class Socat(Peer):
    """A shell user's echo server.

    It writes 8 KiB to a pipe that poll(2) calls writable with space for 4, and then blocks: bulk and
    large messages can hang.
    """

    name, title, program = "socat", "socat fork", "socat"
    excused = (("messages", "bulk", "idle"), "no answer")

    def version(self) -> str:
        """Return the release."""
        return release(output_of("socat", "-V"))

    def command(self, port: int, directory: str) -> list[str]:  # noqa: ARG002
        """Serve."""
        return ["socat", f"TCP-LISTEN:{port},bind={HOST},fork,reuseaddr,backlog={BACKLOG}", "PIPE"]


class Tcpserver(Peer):
    """Of ucspi-tcp: a fork and an exec for each client."""

    name, title, program = "tcpserver", "tcpserver cat", "tcpserver"

    def version(self) -> str:
        """Return the package's release: the program does not tell."""
        with contextlib.suppress(FileNotFoundError):
            return release(output_of("dpkg-query", "-W", "-f", "${Version}", "ucspi-tcp"))
        return "unknown"

    def command(self, port: int, directory: str) -> list[str]:  # noqa: ARG002
        """Serve, with no look-up of names."""
        return ["tcpserver", f"-b{BACKLOG}", f"-c{CHILDREN}", "-H", "-R", "-l0", HOST, str(port), "cat"]


class ForkingServer(Peer):
    """What CPython offers for it."""

    name, title, program = "socketserver", "ForkingTCPServer", sys.executable

    def version(self) -> str:
        """Return the interpreter's release."""
        return f"CPython {platform.python_version()}"

    def command(self, port: int, directory: str) -> list[str]:  # noqa: ARG002
        """Serve."""
        return [sys.executable, os.path.join(HERE, "forking_server.py"), str(port)]


class Smallest(ForkingServer):
    """The smallest forking server in Python: the limit of its kind."""

    name, title = "smallest", "smallest in Python"

    def command(self, port: int, directory: str) -> list[str]:  # noqa: ARG002
        """Serve, with the interpreter's settings as echod's."""
        lean = ["env", "LD_BIND_NOW=1", "LC_ALL=C", sys.executable, "-I", "-S"]
        return [*lean, os.path.join(HERE, "smallest.py"), str(port)]


class Uvloop(ForkingServer):
    """The outside reference: one process, no fork."""

    name, title = "uvloop", "uvloop (no fork)"

    def missing(self) -> str | None:
        """Return why it cannot take part, if it cannot."""
        return None if importlib.util.find_spec("uvloop") else "uvloop is not installed"

    def version(self) -> str:
        """Return the library's release."""
        return f"{importlib.metadata.version('uvloop')}, {super().version()}"

    def command(self, port: int, directory: str) -> list[str]:  # noqa: ARG002
        """Serve."""
        return [sys.executable, os.path.join(HERE, "uvloop_echo.py"), str(port)]


PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (Echod(), Textbook(), Xinetd(), Socat(), Tcpserver(), ForkingServer(), Smallest(), Uvloop())
}
