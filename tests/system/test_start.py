"""`start`, `status` and the exit codes: one daemon, or one line that says why there is none."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys

import psutil
import pytest

from echod.cli import proc
from echod.cli.rehearsal import tcp_sockets
from echod.common.config.addresses import write_address
from support.daemon import ECHOD
from support.installed import Installed
from support.processes import NOBODY, anonymous, servers
from support.sockets import exchange, receive_all
from support.wait import DEADLINE, alive, need, need_root, wait_for


def refused(done, code, *texts):
    """See that a command failed with one line that says why, and left nothing behind."""
    assert done.returncode == code, done
    assert done.stdout == ""
    assert done.stderr.startswith("echod: ")
    assert done.stderr.count("\n") == 1
    for text in texts:
        assert text in done.stderr


def nothing_left(echod):
    assert not servers(echod)
    assert not echod.pid_file.exists()
    assert not (echod.home / "echod.pid.scoreboard").exists()


def test_start_twice_is_one_daemon(running):
    pid = running.pid
    again = running.run("start", check=0)
    assert str(pid) in again.stdout
    assert servers(running) == [pid]


def test_ten_starts_at_the_same_moment_are_one_daemon(echod):
    starts = [
        subprocess.Popen(echod.command("start"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(10)
    ]
    said = [start.communicate(timeout=60) for start in starts]
    assert [start.returncode for start in starts] == [0] * 10, said
    assert servers(echod) == [echod.pid]
    others = [out for out, _ in said if f"already running, pid {echod.pid}" in out]
    assert len(others) == 9
    assert exchange(echod.address, b"one") == b"one"


def test_a_start_and_a_stop_at_the_same_moment_leave_all_or_nothing(echod):
    for _ in range(5):
        commands = [
            subprocess.Popen(echod.command(word), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for word in ("start", "stop", "start", "stop", "start")
        ]
        said = [(command.communicate(timeout=60)[1], command.returncode) for command in commands]
        assert {code for _, code in said} == {0}, said
        code = echod.run("status").returncode
        assert code in (0, 3)
        wait_for(lambda code=code: len(servers(echod)) == (code == 0), "one server or none")
        echod.run("stop", check=0)
        nothing_left(echod)


def test_a_port_that_is_taken(echod):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        echod.write(listen=f"127.0.0.1:0 127.0.0.1:{port}")
        refused(echod.run("start"), 1, f"127.0.0.1:{port}", "in use", "`echod check` names the process")
    nothing_left(echod)


@pytest.mark.parametrize("command", ["start", "restart", "check", "run"])
def test_a_bad_config(echod, command):
    with open(echod.config, "a") as file:
        file.write("max_childen = 3\n")
    line = len(echod.config.read_text().splitlines())
    refused(echod.run(command), 6, f"{echod.config}:{line}", "max_childen", "max_children")
    nothing_left(echod)


@pytest.mark.parametrize("command", ["start", "restart", "check", "run"])
def test_a_config_that_is_missing(echod, command):
    echod.config.unlink()
    refused(echod.run("-o", f"pid_file={echod.pid_file}", command), 6, str(echod.config), "No such file")
    nothing_left(echod)


@pytest.mark.parametrize("command", ["start", "restart", "check", "run"])
def test_an_unknown_user(echod, command):
    echod.write(user="no-such-user")
    refused(echod.run(command), 6, "no-such-user")
    nothing_left(echod)


def test_a_log_that_cannot_be_opened(echod):
    echod.write(log=echod.home / "missing" / "log")
    refused(echod.run("start"), 1, "missing/log", "No such file")
    nothing_left(echod)


def test_a_privileged_port_as_an_ordinary_user(public):
    need_root()
    need("ip")
    config = public / "echod.conf"
    config.write_text(f"[echod]\nlisten = 127.0.0.1:7\npid_file = {public}/echod.pid\nlog = none\n")
    command = ["--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--"]
    # in a network namespace of its own, where ports below 1024 are privileged whatever they are on this machine
    script = 'ip link set lo up && exec setpriv "$@"'
    done = subprocess.run(
        [need("unshare"), "--net", "sh", "-c", script, "sh", *command, ECHOD, "-c", str(config), "start"],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    refused(done, 4, "127.0.0.1:7", "Permission denied")
    assert not (public / "echod.pid").exists()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["frobnicate"], "the commands are start, stop, "),
        (["stop", "--timeout", "soon"], "see echod stop --help"),
        (["start", "--force"], "see echod start --help"),
    ],
)
def test_usage(echod, words, hint):
    refused(echod.run(*words), 2, hint)


def test_no_command_prints_the_commands(echod):
    done = echod.run(check=2)
    assert done.stderr == ""
    assert done.stdout == echod.run("help", check=0).stdout == echod.run("--help", check=0).stdout
    assert "become a daemon" in done.stdout
    assert echod.run("help", "stop", check=0).stdout == echod.run("stop", "--help", check=0).stdout


def test_killed_while_it_serves(echod):
    """SIGKILL of the daemon: its children finish their clients, and the next start needs no help."""
    echod.start()
    conns = [echod.connect() for _ in range(5)]
    for conn in conns:
        conn.sendall(b"before")
        assert conn.recv(100) == b"before"
    pid, address = echod.pid, echod.address
    children = [child.pid for child in echod.children()]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), "the daemon to be dead")
    assert echod.run("status").returncode == 1
    echod.write(listen=f"{address[0]}:{address[1]}")
    echod.run("start", check=0)
    assert echod.pid != pid
    assert exchange(address, b"new") == b"new"
    block = os.urandom(64 << 10)
    for conn in conns:
        conn.sendall(block)
        conn.shutdown(socket.SHUT_WR)
        assert receive_all(conn) == block
        conn.close()
    wait_for(lambda: not any(map(alive, children)), "the old children to end")
    echod.wait_idle()


@pytest.mark.lean
def test_the_server_is_compiled_before_it_starts(echod, public):
    """Of a package without bytecode the first server is as small as the second."""
    echod.prefix = Installed(public).prefix
    memory = []
    for _ in range(2):
        echod.start()
        memory.append(anonymous(echod.pid))
        echod.run("stop", check=0)
    assert memory[0] < memory[1] + 200, memory  # KiB; compiling in the server's process costs it 1000


class TestStatus:
    """Exit codes of `status`: 0 running, 1 crashed or killed, 3 not running, 4 cannot tell."""

    def test_running(self, running):
        state = running.status()
        assert (state["state"], state["pid"], state["clients"]) == ("running", running.pid, 0)
        text = running.run("status", check=0).stdout
        assert f"running, pid {running.pid}" in text

    def test_lists_its_clients(self, running):
        with running.connect() as conn:
            conn.sendall(b"hello")
            assert conn.recv(5) == b"hello"
            host, port = conn.getsockname()
            (child,) = running.status()["children"]
            assert child["peer"] == f"{host}:{port}"
            assert (child["bytes_in"], child["bytes_out"]) == (5, 5)
            assert psutil.Process(child["pid"]).ppid() == running.pid
            assert f"{host}:{port}" in running.run("status", check=0).stdout

    def test_dead(self, running):
        pid = running.pid
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not alive(pid), "the daemon to be dead")
        done = running.run("status", "--json", check=1)
        assert done.stdout == '{"state": "dead"}\n'
        assert "crashed or killed" in running.run("status", check=1).stdout

    def test_not_running(self, echod):
        assert echod.run("status", "--json", check=3).stdout == '{"state": "stopped"}\n'
        assert "not running" in echod.run("status", check=3).stdout

    def test_cannot_tell(self, echod):
        need_root()
        echod.start()
        os.chmod(echod.pid_file, 0o600)
        refused(echod.run("status", user=NOBODY, group=NOBODY, extra_groups=[]), 4, "ermission denied")


def test_interrupted_before_it_is_ready_it_leaves_nothing(echod):
    echod.write()
    # a launcher that is gone when the server is ready: as Ctrl-C leaves it, at the moment that matters
    code = (
        "import os, sys; from echod.cli import launch, main\n"
        "launch.os.read = lambda fd, size: os._exit(130)\n"
        "sys.exit(main.main(sys.argv[1:]))"
    )
    done = subprocess.run([sys.executable, "-c", code, "-c", str(echod.config), "start"], timeout=60)
    assert done.returncode == 130
    wait_for(lambda: echod.run("status").returncode == 3, "the server to end and to remove its files")
    assert not echod.pid_file.exists()
    assert not (echod.home / "echod.pid.scoreboard").exists()


def test_hundreds_of_addresses_fit_below_the_usual_limit_on_descriptors(echod):
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))

    echod.write(listen=" ".join(f"127.1.{number // 250}.{number % 250 + 1}:0" for number in range(500)))
    echod.run("start", check=0, preexec_fn=limit)
    assert proc.soft_limits(echod.pid, [proc.FILES]) == {proc.FILES: "1024"}
    names = [write_address(one) for one in listening(echod.pid)]
    assert len(names) == 500
    echod.run("restart", check=0, preexec_fn=limit)
    assert exchange(listening(echod.pid)[-1], b"x") == b"x"
    echod.write(listen=" ".join(f"127.1.{number // 250}.{number % 250 + 1}:0" for number in range(1100)))
    pid = echod.pid
    done = echod.run("restart", check=1, preexec_fn=limit)
    assert "1100 addresses need" in done.stderr
    assert alive(pid)


def listening(pid):
    """Return where a process listens, by the kernel's tables."""
    held = {target for _, target in proc.descriptors(pid)}
    return [(one.host, one.port) for one in tcp_sockets() if one.listens and one.target in held]


@pytest.mark.parametrize("command", ["start", "restart"])
def test_a_start_reads_the_config_once(echod, tmp_path, command):
    if command == "restart":
        echod.start()
    trace = tmp_path / "trace"
    before = echod.pid_or_zero()
    strace = [need("strace"), "-f", "--trace=read", "-P", str(echod.config), "-o", str(trace)]
    with subprocess.Popen([*strace, *echod.command(command)]) as process:  # it follows the daemon to its end
        wait_for(lambda: echod.pid_or_zero() != before and echod.status_or_none(), "the daemon")
        echod.run("stop", check=0)
        assert process.wait(DEADLINE) == 0
    reads = [line for line in trace.read_text().splitlines() if " = 0" not in line and "read(" in line]
    assert len(reads) == 1, reads
