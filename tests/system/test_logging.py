"""Where the lines go, what they say, and that a log which is stuck, full or gone never keeps a client waiting."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess

import pytest

from support.daemon import Echod, give
from support.processes import MountNamespace, descriptors
from support.sockets import exchange, receive_all
from support.wait import DEADLINE, need, wait_for

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4} echod\[\d+\]: "


def echo(conn, data=b"x"):
    conn.sendall(data)
    return conn.recv(len(data)) == data


class TestFile:
    """`log` = a path."""

    def test_one_event_a_line(self, running):
        exchange(running.address, bytes(141))
        running.run("stop", check=0)
        lines = running.log.read_text().splitlines()
        assert all(re.match(STAMP, line) for line in lines), lines
        ready, close, drain, stopped = running.events()
        assert re.fullmatch(r"ready listen=127\.0\.0\.1:\d+ max_children=256", ready)
        pattern = r"close peer=127\.0\.0\.1:\d+ child=\d+ reason=eof in=141 out=141 secs=\d+\.\d{3}"
        assert re.fullmatch(pattern, close)
        assert (drain, stopped) == ("drain clients=0", "stopped")

    def test_is_appended_to(self, echod):
        echod.log.write_text("of before\n")
        give(echod.log)
        echod.start()
        assert echod.log.read_text().startswith("of before\n")

    def test_log_clients_no(self, echod):
        echod.start(log_clients="no")
        exchange(echod.address, b"x")
        echod.wait_idle()
        assert not echod.events("close")

    @pytest.mark.parametrize(("level", "verbs"), [("error", []), ("warning", []), ("info", ["ready", "close"])])
    def test_levels(self, echod, level, verbs):
        echod.start(log_level=level)
        exchange(echod.address, b"x")
        echod.wait_idle()
        assert [event.split()[0] for event in echod.events()] == verbs

    def test_debug_follows_a_client_from_accept_to_reap(self, echod):
        echod.start(log_level="debug")
        with echod.connect() as conn:
            assert echo(conn)
            host, port = conn.getsockname()
            (child,) = echod.children()
            wait_for(lambda: echod.status()["clients"] == 1, "the record; SIGCHLD is enabled before it")
        echod.wait_idle()
        wait_for(lambda: echod.events("close"), "the close")
        lines = [line.split("echod[", 1)[1] for line in echod.log.read_text().splitlines()]
        parent = f"{echod.pid}]: "
        accept = next(line for line in lines if line.startswith(f"{parent}accept peer={host}:{port} fd="))
        fd = accept.split("fd=")[1].split()[0]
        lines = lines[lines.index(accept) :]  # a SIGCHLD that came before is of a process of the launcher
        assert accept.endswith(" listener={}:{}".format(*echod.address))
        its = f"{child.pid}]: "
        steps = [
            accept,
            next(line for line in lines if line.startswith(f"{parent}fork child={child.pid},") and f"fd={fd}" in line),
            next(line for line in lines if line.startswith(f"{its}child fd={fd};")),
            f"{its}read fd={fd} bytes=1, the first",
            f"{its}write fd={fd} bytes=1, the first",
            f"{its}read fd={fd} bytes=0, which is the client's FIN",
            f"{its}exit status=0 reason=eof fd={fd}, which the kernel closes",
            next(line for line in lines if line.startswith(f"{parent}signals") and "SIGCHLD" in line),
            next(line for line in lines if line.startswith(f"{parent}waitpid child={child.pid} status=0x0000")),
            next(line for line in lines if line.startswith(f"{parent}close peer={host}:{port} child={child.pid} ")),
        ]
        at = [lines.index(step) for step in steps]
        assert at[:1] + at[2:] == sorted(at[:1] + at[2:])
        assert at[0] < at[1] < at[-1]  # the child may be before the parent's line about its fork

    def test_a_summary_at_a_reload_and_at_the_stop_adds_up(self, echod):
        echod.start(log_summary="127.0.0.0/8")
        address = echod.address
        for _ in range(3):
            exchange(address, b"hello")
        echod.wait_idle()
        assert not echod.events("summary")
        echod.write(backlog="7")
        echod.run("reload", check=0)
        (line,) = echod.events("summary")
        assert re.fullmatch(r"summary source=127\.0\.0\.1 clients=3 in=15 out=15 eof=3 secs=\d+", line)
        exchange(address, b"hello")
        echod.wait_idle()
        echod.run("reopen", check=0)
        echod.run("stop", check=0)
        assert echod.events("summary")[1].startswith("summary source=127.0.0.1 clients=1 in=5 out=5 eof=1 secs=")
        assert not echod.events("close")

    def test_refusals_are_limited(self, echod):
        echod.start(deny="127.0.0.1")
        address = echod.address
        for _ in range(50):
            with socket.create_connection(address, timeout=DEADLINE) as conn, contextlib.suppress(ConnectionError):
                assert receive_all(conn) == b""
        wait_for(lambda: any("left_out=" in line for line in echod.events("refuse")), "the count of what was left out")
        assert echod.status()["refused"]["access"] == 50
        lines = echod.events("refuse")
        left_out = [int(line.rpartition("left_out=")[2]) for line in lines if "left_out=" in line]
        assert len(lines) + sum(left_out) == 50
        assert len(lines) <= 5


def test_run_logs_to_stderr(echod):
    echod.write(log=None)
    process = echod.foreground(stderr=subprocess.PIPE, text=True)
    exchange(echod.address, b"x")
    echod.wait_idle()
    process.terminate()
    assert process.wait(DEADLINE) == 0
    lines = process.stderr.read().splitlines()
    assert all(re.match(STAMP, line) for line in lines), lines
    assert [line.split("]: ")[1].split()[0] for line in lines] == ["ready", "close", "drain", "stopped"]


def test_a_reader_of_stderr_that_is_stuck_or_gone(echod):
    echod.write(log=None, log_level="debug")
    read_end, write_end = os.pipe()
    with contextlib.suppress(BlockingIOError):
        os.set_blocking(write_end, False)
        while True:
            os.write(write_end, bytes(4096))
    os.set_blocking(write_end, True)
    echod.foreground(stderr=write_end)
    os.close(write_end)
    address = echod.address
    assert exchange(address, b"nobody reads the log") == b"nobody reads the log"
    os.close(read_end)
    assert exchange(address, b"nobody can") == b"nobody can"


def test_a_full_disk(echod):
    script = f"mkdir {echod.home}/small && mount -t tmpfs -o size=64k tmpfs {echod.home}/small"
    with MountNamespace(script) as space:
        echod.prefix = space.prefix
        log, filler = f"{echod.home}/small/log", f"{echod.home}/small/filler"
        echod.start(log=log)
        pid = echod.pid
        inside = f"/proc/{pid}/root"
        with open(inside + filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        with contextlib.suppress(OSError), open(inside + log, "ab", buffering=0) as file:
            while True:
                file.write(b".")  # the rest of the last page
        for _ in range(20):
            assert exchange(echod.address, b"on") == b"on"
        echod.wait_idle()
        os.unlink(inside + filler)
        exchange(echod.address, b"room again")
        echod.wait_idle()
        with open(inside + log) as file:
            text = file.read()
        assert "log lost=20\n" in text
        echod.run("stop", check=0)


RSYSLOGD = """
module(load="imuxsock" SysSock.Name="/dev/log" SysSock.RateLimit.Interval="0")
template(name="t" type="string" string="%syslogfacility-text%.%syslogseverity-text% %syslogtag%%msg%\\n")
action(type="omfile" file="{log}" template="t" asyncWriting="off" flushInterval="1" ioBufferSize="1")
"""
OWN_DEV = """
mkdir {home}/dev
mount -t tmpfs -o mode=755 tmpfs {home}/dev
cp -a /dev/null /dev/zero /dev/random /dev/urandom {home}/dev
mount --bind {home}/dev /dev
"""


class Rsyslogd:
    """A syslog daemon behind a /dev/log of its own, in a mount namespace of its own."""

    def __init__(self, home, prefix):
        self.log = home / "syslog"
        self.config = home / "rsyslog.conf"
        self.config.write_text(RSYSLOGD.format(log=self.log))
        self.command = [*prefix, need("rsyslogd"), "-n", "-f", str(self.config), "-i", "NONE"]

    def start(self):
        before = self.lines("rsyslogd")
        self.process = subprocess.Popen(self.command)
        wait_for(lambda: self.lines("rsyslogd") > before, "rsyslogd")

    def stop(self):
        self.process.kill()
        self.process.wait(DEADLINE)

    def lines(self, word):
        text = self.log.read_text() if self.log.exists() else ""
        return [line for line in text.splitlines() if word in line]


@pytest.fixture
def syslog(tmp_path, public):
    """Return a daemon, not started, that logs to a syslog of its own, and that syslog."""
    need("rsyslogd")
    with MountNamespace(OWN_DEV.format(home=tmp_path)) as space:
        rsyslogd = Rsyslogd(tmp_path, space.prefix)
        rsyslogd.start()
        echod = Echod(public, prefix=space.prefix, log=None)
        yield echod, rsyslogd
        echod.cleanup()
        rsyslogd.stop()


def test_syslog(syslog):
    echod, rsyslogd = syslog
    echod.start(syslog_facility="local3")
    assert exchange(echod.address, b"x") == b"x"
    line = wait_for(lambda: rsyslogd.lines(" close "), "the line in the syslog")[0]
    pattern = rf"local3\.info echod\[{echod.pid}\]: close peer=127.0.0.1:\d+ child=\d+ reason=eof in=1 out=1 secs=\S+"
    assert re.fullmatch(pattern, line)
    echod.write(syslog_facility="daemon", max_children="many")
    os.kill(echod.pid, signal.SIGHUP)
    wait_for(lambda: rsyslogd.lines("local3.err"), "the error")
    echod.write(syslog_facility="daemon", max_children=3)
    echod.run("reload", check=0)
    wait_for(lambda: rsyslogd.lines("daemon.info"), "the new facility")


def test_syslog_that_is_gone_comes_back(syslog):
    echod, rsyslogd = syslog
    echod.start()
    rsyslogd.stop()
    address = echod.address
    for _ in range(5):
        assert exchange(address, b"nobody logs this") == b"nobody logs this"
    echod.wait_idle()
    rsyslogd.start()

    def visit_and_look():
        exchange(address, b"x")
        return rsyslogd.lines("log lost=")

    wait_for(visit_and_look, "the count of lost lines")
    assert rsyslogd.lines("daemon.warning")


def test_syslog_that_is_stuck(syslog):
    echod, rsyslogd = syslog
    echod.start(log_level="debug")
    rsyslogd.process.send_signal(signal.SIGSTOP)
    try:
        address = echod.address
        for _ in range(300):
            assert exchange(address, b"x") == b"x"
    finally:
        rsyslogd.process.send_signal(signal.SIGCONT)

    def visit_and_look():
        exchange(address, b"x")
        return rsyslogd.lines("log lost=")

    wait_for(visit_and_look, "the count of lost lines")


def test_no_syslog_at_all(tmp_path, public):
    with MountNamespace(OWN_DEV.format(home=tmp_path)) as space:
        echod = Echod(public, prefix=space.prefix, log=None)
        try:
            echod.start()
            assert exchange(echod.address, b"unheard") == b"unheard"
            assert len(descriptors(echod.pid)) < 12
        finally:
            echod.cleanup()
