"""`echod status --processes`: a daemon in order, and what is told of one that is not."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
import sys
from typing import Any

import pytest

from echod.common import scoreboard
from support.daemon import Echod
from support.processes import LIBC, NOBODY, MountNamespace, limit_descriptors, state
from support.systemd_box import UNITS, EchodBox
from support.wait import DEADLINE, need, need_root, skip, wait_for

LINE = re.compile(r"(ok|NOT OK|\?) +([a-z]+(?: [a-z]+)?(?: \d+)?)  +(.*)")
IN_OPEN = 0x20  # inotify(7)
HOLDER = """
import fcntl, os, struct, sys, time
pid, board, head = *sys.argv[1:3], bytes.fromhex(sys.argv[3])
fd = os.open(pid, os.O_RDWR | os.O_CREAT)
fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)
with open(board, "wb") as file:
    file.write(head + struct.pack("q", os.getpid()) + bytes(20 << 10))
print("ready", flush=True)
time.sleep(600)
"""


def lines(echod, code, **kwargs):
    """Return verdict and text by what is looked at."""
    text = echod.run("status", "--processes", check=code, **kwargs).stdout
    found: list[Any] = [LINE.fullmatch(line) for line in text.splitlines()]
    assert all(found), text
    return {line[2]: (line[1], line[3]) for line in found}


def bad(found):
    return {what: text for what, (verdict, text) in found.items() if verdict != "ok"}


def test_a_daemon_in_order_with_its_clients(echod):
    echod.start(log_level="debug", max_lifetime="1h", listen="127.0.0.1:0, [::1]:0", umask="027")
    assert bad(lines(echod, 0)) == {}
    conns = [echod.connect() for _ in range(3)]
    wait_for(lambda: echod.status()["clients"] == 3, "the clients")
    found = lines(echod, 0)
    children = [text for what, (_, text) in found.items() if what.startswith("child ")]
    for conn in conns:
        host, port = conn.getsockname()
        assert any(f"has connection with {host}:{port} for itself" in text for text in children)
        conn.close()
    assert len(children) == 3
    descriptors = " ".join(text for what, (_, text) in found.items() if what.startswith("descriptor"))
    for what in ("listens on 127.0.0.1:", "listens on [::1]:", f"pid file: {echod.pid_file}", f"log: {echod.log}"):
        assert what in descriptors
    assert found["umask"][1].startswith("0027 ")
    if os.geteuid() == 0:
        assert found["user"][1].startswith("nobody ")


def test_a_daemon_that_is_stopped(running):
    process = running.process()
    with running.connect():
        wait_for(lambda: running.status()["clients"] == 1, "the client")
        wait_for(lambda: state(running.pid) == "S", "the daemon's sleep")  # fork(3) blocks signals for a moment
        process.suspend()
        child = running.children()[0].pid
    try:
        wait_for(lambda: state(child) == "Z", "the child's end")
        found = bad(lines(running, 1))
    finally:
        process.resume()
    assert found["state"].startswith("stopped by a signal (SIGSTOP); SIGCONT lets it go on")
    assert found["zombies"].startswith(f"{child} ")
    assert set(found) == {"state", "zombies"}
    running.wait_idle()
    assert bad(lines(running, 0)) == {}


def test_what_is_not_as_it_should_be_is_told(running):
    need_root()
    running.write(directory="/tmp", umask="077")
    with running.connect():
        child = wait_for(running.children, "the child")[0]
        limit_descriptors(running.pid, 12)
        child.send_signal(signal.SIGSTOP)
        found = bad(lines(running, 1))
        child.send_signal(signal.SIGCONT)
    assert found["open files"].startswith("at most 12 ")
    assert found["directory"] == "/ (should be: /tmp)"
    assert found["umask"] == "0022 (should be: 0077)"
    assert found[f"child {child.pid}"].startswith("stopped by a signal")


def test_in_the_foreground(echod):
    process = echod.foreground(stderr=-3)
    with echod.connect():
        wait_for(lambda: echod.status()["clients"] == 1, "the client")
        found = lines(echod, 0)
    assert "any: it runs in the foreground" in found["parent"][1]
    assert process.poll() is None


def test_who_may_not_look_is_told_what_cannot_be_told(running):
    need_root()
    prefix = [need("setpriv"), "--reuid", "5", "--regid", "5", "--clear-groups", "--"]
    running.prefix = prefix
    try:
        found = lines(running, 4)
    finally:
        running.prefix = ()
    assert found["descriptors"][0] == found["memory"][0] == "?"
    assert found["user"][0] == found["terminal"][0] == "ok"


@pytest.mark.parametrize(("code", "word"), [(3, "not running"), (1, "crashed or killed")])
def test_where_none_runs(echod, code, word):
    if code == 1:
        echod.start()
        process = echod.process()
        process.kill()
        process.wait(DEADLINE)
    assert word in echod.run("status", "--processes", check=code).stdout


def test_it_is_not_disturbed_by_clients_that_come_and_go(running):
    address, children = running.address, 0
    for _ in range(3):
        conns = [socket.create_connection(address, DEADLINE) for _ in range(30)]
        for conn in conns[::2]:
            conn.close()
        found = lines(running, 0)
        children += sum(what.startswith("child ") for what in found)
        for conn in conns:
            conn.close()
    assert children


@pytest.mark.parametrize("pid_file", ["./pid", "link/pid"])
def test_paths_that_are_relative_or_lead_through_links(public, pid_file):
    daemon = Echod(public)
    (public / "link").symlink_to(".")
    options = [word for path in (f"pid_file={pid_file}", "log=./link/log", "directory=link") for word in ("-o", path)]
    daemon.run("start", *options, check=0, cwd=public)
    try:
        found = daemon.run("status", "--processes", "-o", f"pid_file={pid_file}", check=0, cwd=public).stdout
    finally:
        daemon.run("stop", "-o", f"pid_file={pid_file}", cwd=public)
    assert f"log: {public}/log" in found
    assert f"pid file: {public}/pid" in found


def test_the_unit_with_a_log_file_is_in_order(tmp_path):
    with EchodBox(tmp_path, UNITS / "echod.service", config="log = /var/log/echod/echod.log") as box:
        box.run("systemctl start echod")
        found = box.run("echod status --processes")
    assert re.search(r"^ok +descriptor \d+ +log: /var/log/\S*echod/echod.log", found, re.MULTILINE), found


@pytest.mark.parametrize("options", ["hidepid=1", "hidepid=2"])
def test_a_proc_that_hides_the_daemon_is_one_line(running, options):
    need_root()
    user = [need("setpriv"), "--reuid", "5", "--regid", "5", "--clear-groups", "--"]
    with MountNamespace(f"mount -t proc -o {options} proc /proc") as namespace:
        running.prefix = [*namespace.prefix, *user]
        try:
            (line,) = lines(running, 4).items()
        finally:
            running.prefix = ()
    assert line[0] == "processes"
    assert f"/proc/{running.pid}/" in line[1][1]


KEPT = range(32, signal.SIGRTMIN)  # by the C library
SYS_RT_SIGACTION = {"x86_64": 13, "aarch64": 134}
KERNEL_SIGACTION = bytes(32)  # the default action


def reset_kept_signals():
    """Reset them past the C library, which refuses that. Children of posix_spawn(3), as make uses it, ignore them."""
    for signum in KEPT:
        LIBC.syscall(SYS_RT_SIGACTION[os.uname().machine], signum, KERNEL_SIGACTION, None, 8)


def test_signals_that_the_c_library_keeps_are_told_and_end_it(echod):
    if os.uname().machine not in SYS_RT_SIGACTION:
        skip("the number of rt_sigaction(2) on this machine")
    echod.run("start", check=0, preexec_fn=reset_kept_signals)
    kept = lines(echod, 0)["ended by"][1].split(" (")[0].split()
    assert kept == [str(number) for number in KEPT]
    process = echod.process()
    LIBC.kill(process.pid, int(kept[-1]))  # os.kill would do, too; the wrapper of signal(2) refuses to handle it
    process.wait(DEADLINE)
    echod.run("status", check=1)


@pytest.fixture
def hold(public):
    """Return a function that has user nobody lock the pid file in a process with any command line."""
    need_root()
    started = []
    head = struct.pack("q", scoreboard.VERSION).hex()

    def hold(*words):
        script = [sys.executable, "-ISc", HOLDER, public / "echod.pid", public / "echod.pid.scoreboard", head]
        nobody: Any = {"user": NOBODY, "group": NOBODY, "extra_groups": (), "env": {"X\nok  umask": ""}}
        holder = subprocess.Popen([*script, *words], stdout=subprocess.PIPE, **nobody)
        started.append(holder)
        assert holder.stdout.readline() == b"ready\n"

    yield hold
    for holder in started:
        holder.kill()
        holder.wait(DEADLINE)
        holder.stdout.close()


def test_root_opens_nothing_because_the_holder_of_the_lock_names_it(public, tmp_path, hold):
    secret = tmp_path / "secret"
    secret.write_text("[echod]\n")
    watch = LIBC.inotify_init1(os.O_NONBLOCK)
    LIBC.inotify_add_watch(watch, bytes(secret), IN_OPEN)
    hold("/x/boot.py", f"config_file={secret}", "to_words=1", "set=log=./\x1b[2J", f"uid={'9' * 30}", "base=/")
    try:
        done = Echod(public).run("status", "--processes", check=1)
        assert re.search(r"^\? +umask ", done.stdout, re.MULTILINE)
        assert not re.search(r"^ok +umask", done.stdout, re.MULTILINE), "a line that the holder has forged"
        assert done.stdout.replace("\n", "").isprintable()
        with pytest.raises(BlockingIOError):
            os.read(watch, 4096)
        secret.read_text()
        assert os.read(watch, 4096), "the watch works"
    finally:
        os.close(watch)


def test_a_holder_that_is_no_server_is_one_line(public, hold):
    hold("config_file=\x1b[2J")
    done = Echod(public).run("status", "--processes", check=4)
    assert "is not a server of this version of echod" in done.stderr
    assert len(done.stderr.splitlines()) == 1
