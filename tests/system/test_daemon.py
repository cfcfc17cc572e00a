"""What `start` makes: a daemon that owes nothing to whoever called it."""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import signal
import subprocess
import termios

import pytest

from support.daemon import ECHOD, give
from support.processes import NOBODY, descriptors, many_descriptors, proc_status, signal_set
from support.sockets import exchange
from support.wait import DEADLINE, need_root, skip

HANDLED = {signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD}
DEFAULT = {  # those of the kernel, for faults and limits, and job control
    *(signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT, signal.SIGSEGV),
    *(signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS, signal.SIGXCPU),
}
IGNORED = set(range(1, 65)) - HANDLED - DEFAULT - {32, 33}


def stat_fields(pid):
    """Return /proc/PID/stat from the state on: state, ppid, pgrp, session, tty_nr…"""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()


def serves(echod):
    return exchange(echod.address, b"hello\n") == b"hello\n"


def test_orphaned_and_detached(subreaper, echod):
    echod.start()
    pid = echod.pid
    _, ppid, group, session, tty = stat_fields(pid)[:5]
    assert int(ppid) == subreaper, "the processes between have not gone"
    assert int(session) not in (pid, os.getsid(0)), "not in a session of its own, or its leader"
    assert int(group) != pid
    assert int(group) != os.getpgid(0)
    assert int(tty) == 0
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert proc_status(pid)["Name"] == "echod"


def test_umask_and_directory_are_those_of_the_settings(echod, tmp_path):
    old = os.umask(0o077)
    try:
        echod.start()
        assert proc_status(echod.pid)["Umask"] == "0022"
        echod.run("stop", check=0)
        echod.start(umask="027", directory=tmp_path)
        assert proc_status(echod.pid)["Umask"] == "0027"
        assert os.readlink(f"/proc/{echod.pid}/cwd") == str(tmp_path)
    finally:
        os.umask(old)


def own_descriptors(echod):
    """Return those that the daemon opened for itself, and see that they are no others."""
    found = descriptors(echod.pid)
    assert [found.pop(fd) for fd in (0, 1, 2)] == ["/dev/null"] * 3
    kinds = [link.partition(":")[0] for link in found.values()]
    files = {str(echod.pid_file), str(echod.home / "echod.pid.scoreboard"), str(echod.log)}
    files.add(f"/proc/{echod.pid}/oom_score_adj")
    assert kinds.count("socket") == 1, found
    assert kinds.count("pipe") == 2, found
    assert {kind for kind in kinds if kind not in ("socket", "pipe")} <= files, found
    return found


def test_no_descriptor_is_inherited(echod, tmp_path):
    many_descriptors()
    marker = open(tmp_path / "marker", "w")  # noqa: SIM115 - closed below
    highest = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1

    def inherit():
        for fd in [*range(30, 70), *range(1000, 1005), *range(highest - 4, highest + 1)]:
            os.dup2(marker.fileno(), fd)  # inheritable
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))  # these stay open, above the limit

    echod.run("start", check=0, preexec_fn=inherit, close_fds=False)
    marker.close()
    own_descriptors(echod)
    assert serves(echod)


def test_a_child_keeps_its_connection_and_nothing_else(running):
    with running.connect() as conn:
        conn.sendall(b"x")
        conn.recv(1)
        (child,) = running.children()
        found = descriptors(child.pid)
        assert [found.pop(fd) for fd in (0, 1, 2)] == ["/dev/null"] * 3
        assert [link.partition(":")[0] for link in found.values()] == ["socket"]
        assert not signal_set(child.pid, "SigBlk")


def test_signals_are_as_if_nobody_had_touched_them(echod):
    def block_and_ignore():
        for signum in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
            signal.signal(signum, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))

    echod.run("start", check=0, preexec_fn=block_and_ignore)
    assert signal_set(echod.pid, "SigBlk") == set()
    # 32 and 33 are the C library's own: nobody else can change what has been inherited for them (nptl(7))
    assert signal_set(echod.pid, "SigIgn") - {32, 33} == IGNORED
    assert signal_set(echod.pid, "SigCgt") == HANDLED


def test_starts_though_the_caller_ignores_sigchld(echod):
    echod.run("start", check=0, preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert serves(echod)
    echod.wait_idle()


@pytest.mark.lean
def test_environment_is_reduced(echod):
    echod.run("start", check=0, env={**os.environ, "SECRET": "hunter2", "LD_BIND_NOW": "1", "TZ": "UTC"})
    with open(f"/proc/{echod.pid}/environ") as file:
        names = {entry.partition("=")[0] for entry in file.read().split("\0") if entry}
    assert names <= {"PATH", "LANG", "TZ", "LISTEN_FDS", "LISTEN_PID", "LD_BIND_NOW", "GLIBC_TUNABLES", "LC_ALL"}
    assert "TZ" in names


def test_no_core_dumps(echod):
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        skip("a hard limit that allows core dumps")
    echod.run("start", check=0, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (4096, 4096)))
    with open(f"/proc/{echod.pid}/limits") as file:
        (line,) = [line for line in file if line.startswith("Max core file size")]
    assert line.split()[4:6] == ["0", "0"]


def test_root_becomes_nobody(echod):
    need_root()
    echod.run("start", check=0, preexec_fn=lambda: os.setgroups([0, 4, 27]))
    status = proc_status(echod.pid)
    assert status["Uid"].split() == status["Gid"].split() == [str(NOBODY)] * 4
    assert status["Groups"].split() == [str(NOBODY)]
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert serves(echod)
    echod.run("reload", check=0)
    echod.run("reopen", check=0)
    echod.run("stop", check=0)
    assert not echod.pid_file.exists()


def test_root_becomes_whom_the_settings_name(echod):
    need_root()
    give(echod.home, "daemon")
    echod.start(user="daemon", group="mail")
    status = proc_status(echod.pid)
    assert (status["Uid"].split()[0], status["Gid"].split()[0]) == ("1", "8")
    assert status["Groups"].split() == ["8"]


def test_starts_without_stdin_stdout_stderr(echod):
    command = ["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', *echod.command("start")]
    assert subprocess.run(command, timeout=DEADLINE, check=False).returncode == 0
    own_descriptors(echod)
    assert serves(echod)


@pytest.mark.lean
def test_starts_in_a_directory_that_was_deleted(echod, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()

    def go_and_delete():
        os.chdir(gone)
        gone.rmdir()

    echod.run("start", check=0, preexec_fn=go_and_delete)
    assert serves(echod)
    echod.run("reload", check=0)


def test_outlives_its_terminal(echod):
    pid, master = pty.fork()
    if pid == 0:
        command = ["sh", "-c", '"$@" && echo started && exec sleep 60', "sh", *echod.command("start")]
        os.execvp(command[0], command)
    shown = b""
    while b"started" not in shown:
        shown += os.read(master, 1024)
    with echod.connect() as conn:
        os.close(master)  # the kernel sends SIGHUP to the shell's session
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGHUP
        conn.sendall(b"still here")
        assert conn.recv(100) == b"still here"
    assert serves(echod)
    assert echod.status()["generation"] == 1


def test_outlives_a_terminal_whose_session_it_was_started_in_by_a_leader(echod):
    master, slave = pty.openpty()

    def lead_a_session():
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    echod.run("start", check=0, preexec_fn=lead_a_session, close_fds=False, stdin=slave)
    os.close(slave)
    os.close(master)
    assert stat_fields(echod.pid)[4] == "0"
    assert serves(echod)


def test_relative_paths_are_those_of_the_caller_and_stay_so(tmp_path):
    config = tmp_path / "echod.conf"

    def echod(command, log):
        config.write_text(f"[echod]\nlisten = 127.0.0.1:0\npid_file = echod.pid\nlog = {log}\nuser = {os.geteuid()}\n")
        subprocess.run([ECHOD, "-c", "echod.conf", command], cwd=tmp_path, check=True, timeout=DEADLINE)

    echod("start", "./log")
    try:
        assert (tmp_path / "log").exists()
        echod("reload", "./later")
        (tmp_path / "later").rename(tmp_path / "later.1")
        echod("reopen", "./later")
        assert (tmp_path / "later").exists()
    finally:
        echod("stop", "./later")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["echod.conf", "later", "later.1", "log"]


def test_run_works_without_a_terminal_and_ends_with_ctrl_c(echod):
    process = echod.foreground("-o", "log=stderr", stderr=subprocess.PIPE, text=True)
    assert serves(echod)
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE) == 0
    text = process.stderr.read()
    assert " ready " in text
    assert text.endswith("stopped\n")
    assert not echod.pid_file.exists()
