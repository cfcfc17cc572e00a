"""What the tests share: the command `echod`, a daemon of one's own, waiting with a deadline, real tools."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import hypothesis
import psutil
import pytest

from echod.listener import Listener, bind

ECHOD = os.path.join(os.path.dirname(sys.executable), "echod")
DEADLINE = 20.0
PR_SET_CHILD_SUBREAPER = 36

hypothesis.settings.register_profile("patient", deadline=None)  # a busy machine takes its time; no test asserts one
hypothesis.settings.load_profile("patient")


def wait_for(condition, what="the event", deadline=DEADLINE):
    """Poll `condition` until it is true and return its value; fail the test when that takes too long."""
    end = time.monotonic() + deadline
    while not (value := condition()):
        if time.monotonic() > end:
            pytest.fail(f"waited {deadline} s in vain for {what}")
        time.sleep(0.01)
    return value


def need(tool):
    """Return the path of a program; without it the test is skipped, or fails where tools are required."""
    path = shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if path is None:
        message = f"{tool} is not installed; .ci/packages.txt lists what the tests need"
        if os.environ.get("ECHOD_REQUIRE_TOOLS"):
            pytest.fail(message)
        pytest.skip(message)
    return path


def need_root():
    """Skip a test that only root can run; where tools are required, being root is, too."""
    if os.geteuid() != 0:
        if os.environ.get("ECHOD_REQUIRE_TOOLS"):
            pytest.fail("needs root")
        pytest.skip("needs root")


def alive(pid):
    """Tell whether a process is there and not a zombie: init may take its time to reap what is left to it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Echod:
    """A daemon of the test's own, on a free port of 127.0.0.1, with all its files below `home`."""

    def __init__(self, home: Path, *, prefix=(), **settings):
        """Keep its files in `home`; `prefix` goes before every command, to run it in a namespace, say."""
        self.home = home
        self.prefix = prefix
        self.config = home / "echod.conf"
        self.pid_file = home / "echod.pid"
        self.log = home / "echod.log"
        self.settings = {
            "listen": "127.0.0.1:0",
            "pid_file": str(self.pid_file),
            "log": str(self.log),
            "drain_timeout": "5s",
        }
        self.write(**settings)
        self.started: list[subprocess.Popen] = []

    def write(self, **settings):
        """Write the config file with these settings changed; None leaves one out."""
        self.settings |= settings
        lines = [f"{key} = {value}" for key, value in self.settings.items() if value is not None]
        self.config.write_text("\n".join(["[echod]", *lines, ""]))

    def command(self, *words):
        """Return the command line `echod -c CONFIG WORDS…`."""
        return [*self.prefix, ECHOD, "-c", str(self.config), *map(str, words)]

    def run(self, *words, check=None, **kwargs):
        """Run `echod -c CONFIG WORDS…`; `check` is the exit code that is expected."""
        kwargs.setdefault("timeout", 60)
        done = subprocess.run(self.command(*words), check=False, capture_output=True, text=True, **kwargs)
        assert "Traceback" not in done.stderr, done.stderr
        if check is not None:
            assert done.returncode == check, (done.returncode, done.stdout, done.stderr)
        return done

    def start(self, **settings):
        """Write the settings, start, and return self."""
        if settings:
            self.write(**settings)
        self.run("start", check=0)
        return self

    def foreground(self, *words, **kwargs):
        """Start `echod run` and return the process once it serves."""
        process = subprocess.Popen(self.command(*words, "run"), **kwargs)
        self.started.append(process)
        wait_for(lambda: self.status_or_none() or process.poll() is not None, "echod run")
        return process

    @property
    def pid(self):
        return int(self.pid_file.read_text())

    def status(self):
        return json.loads(self.run("status", "--json", check=0).stdout)

    def status_or_none(self):
        done = self.run("status", "--json")
        state = json.loads(done.stdout) if done.returncode == 0 else None
        return state if state and state["state"] != "starting" else None

    @property
    def address(self):
        host, _, port = self.status()["listen"][0].rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def port(self):
        return self.address[1]

    def connect(self, **kwargs):
        return socket.create_connection(self.address, timeout=DEADLINE, **kwargs)

    def process(self):
        return psutil.Process(self.pid)

    def children(self):
        return self.process().children()

    def events(self, verb=None):
        """Return the log's lines without time and ident; only those that begin with `verb`."""
        if not self.log.exists():
            return []
        texts = [line.split("]: ", 1)[1] for line in self.log.read_text().splitlines() if "]: " in line]
        return [text for text in texts if verb is None or text.split()[0] == verb]

    def wait_idle(self):
        """Wait until no client is left and every child has been reaped."""
        wait_for(lambda: not self.status()["clients"] and not self.children(), "all clients gone")
        return self.status()

    def cleanup(self):
        """End what the test has started, and see that nothing is left."""
        family = []
        with contextlib.suppress(Exception):
            process = self.process()
            if any("echod" in word for word in process.cmdline()):
                family = [process, *process.children(recursive=True)]
        self.run("stop", "--timeout", "10", "--force")
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait(DEADLINE)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        wait_for(lambda: not any(alive(process.pid) for process in family), "the processes to be gone")
        assert not (self.home / "echod.scoreboard").exists() or self.pid_file.exists()


@pytest.fixture
def public():
    """Return a new directory that everybody can read, as pytest's are not, and that belongs to the daemon's user."""
    path = Path(tempfile.mkdtemp(prefix="echod-test-"))
    path.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(path, "nobody")
    yield path
    shutil.rmtree(path)


BOTH_LEVELS = ("test_clients", "test_reload", "test_stop", "test_overload")


def pytest_generate_tests(metafunc):
    """Have the tests of a client, a reload, a stop and an overload run at two levels: `debug` changes nothing else."""
    if "log_level" in metafunc.fixturenames:
        levels = ["info", "debug"] if metafunc.module.__name__.endswith(BOTH_LEVELS) else ["info"]
        metafunc.parametrize("log_level", levels, indirect=True, ids=levels if len(levels) > 1 else [""])


@pytest.fixture
def log_level(request):
    """Return the level that `echod` logs at."""
    return request.param


@pytest.fixture
def echod(public, log_level):
    """Return a daemon that is not started yet; root's will serve as nobody, the default."""
    daemon = Echod(public, log_level=log_level)
    yield daemon
    daemon.cleanup()


@pytest.fixture
def running(echod):
    """Return a daemon that serves."""
    return echod.start()


@pytest.fixture
def subreaper():
    """Make this process the one that adopts orphans; request it before the daemon, to reap it after."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield os.getpid()
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def receive_all(conn):
    """Read until the peer closes, and return the bytes."""
    parts = []
    while part := conn.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def exchange(address, data, timeout=DEADLINE):
    """Send `data`, half-close, and return what comes back until the server closes."""
    with socket.create_connection(address, timeout=timeout) as conn:
        conn.sendall(data)
        conn.shutdown(socket.SHUT_WR)
        return receive_all(conn)


@pytest.fixture
def serve():
    """Return a function that makes a `Served`."""
    from pieces import Served  # noqa: PLC0415 - it imports this file

    made: list[Served] = []

    def serve(*args, **kwargs):
        made.append(Served(*args, **kwargs))
        return made[-1]

    yield serve
    for served in made:
        served.close()


@pytest.fixture
def bound():
    """Return a function that binds an address, with what the test needs closed at its end."""
    from pieces import settings  # noqa: PLC0415 - it imports this file

    opened: list[Listener] = []

    def bound(*address, config=None, **kwargs):
        found = bind(address, config or settings(), **kwargs)
        opened.extend(found)
        return found

    yield bound
    for one in opened:
        one.close()
