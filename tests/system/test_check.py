"""`check`: settings with their origins, warnings whose commands mend them, and what would happen to a client."""

from __future__ import annotations

import os
import pwd
import re
import socket
import subprocess
import sys
from pathlib import Path

import psutil

from support.daemon import ECHOD, Echod, give
from support.network import Hosts
from support.processes import NOBODY, MountNamespace
from support.sockets import port_of_its_own
from support.wait import DEADLINE, need, need_root, skip


def warnings(echod, *words, **kwargs):
    """Return the warnings of `check`."""
    done = echod.run("check", *words, check=0, **kwargs)
    found = done.stderr.splitlines()
    assert all(line.startswith("echod: warning: ") for line in found), done.stderr
    assert echod.run("check", "--strict", *words, **kwargs).returncode == (1 if found else 0)
    return [line.removeprefix("echod: warning: ") for line in found]


def mend(echod, warning, **kwargs):
    """Do what a warning says."""
    (command,) = re.findall("`(.*)`$", warning)
    subprocess.run([*echod.prefix, "sh", "-c", command], check=True, timeout=DEADLINE, **kwargs)


def test_each_setting_has_its_origin_and_all_of_them_are_a_config(echod):
    echod.write(max_children=7)
    done = echod.run("check", "-o", "backlog=99", check=0)
    lines = done.stdout.splitlines()
    (number,) = re.findall(rf"^max_children = 7 +# {echod.config}:(\d+)$", done.stdout, re.MULTILINE)
    assert echod.config.read_text().splitlines()[int(number) - 1] == "max_children = 7"
    assert re.search(r"^backlog = 99 +# -o$", done.stdout, re.MULTILINE)
    assert re.search(r"^over_limit = queue +# default$", done.stdout, re.MULTILINE)
    copy = echod.home / "copy.conf"
    copy.write_text(done.stdout)
    again = echod.run("-c", str(copy), "check", check=0).stdout.splitlines()
    assert [line.split(" #")[0] for line in again] == [line.split(" #")[0] for line in lines]


def test_where_all_is_well_there_is_no_warning(echod):
    echod.write(backlog=5)
    assert warnings(echod) == []
    echod.run("start", check=0)
    assert warnings(echod) == []


def test_it_changes_nothing(echod):
    echod.write(backlog=5)
    before = sorted(os.listdir(echod.home))
    echod.run("check", check=0)
    assert sorted(os.listdir(echod.home)) == before


def test_the_network_of_another_machine(public):
    with Hosts() as hosts:
        echod = Echod(public, prefix=hosts.prefix, listen="198.51.100.1:7777", backlog=5000)
        hosts.sysctl(hosts.here, "net/core/somaxconn", 100)
        cut, missing = warnings(echod)
        assert cut.startswith("backlog = 5000 is cut to somaxconn, 100; ")
        assert missing == (
            "listen: 198.51.100.1:7777: Cannot assign requested address; no interface has this address, "
            "`ip -br address` lists those there are"
        )
        mend(echod, cut)
        hosts.ip(hosts.here, "address", "add", "198.51.100.1", "dev", "cable")
        assert warnings(echod) == []


def test_a_port_that_another_process_holds(echod):
    port = port_of_its_own()
    server = f"import socket; s = socket.create_server(('127.0.0.1', {port})); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", server], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            other.stdout.readline()
            echod.write(backlog=5, listen=f"*:{port}")
            (held,) = warnings(echod)
            name = Path(f"/proc/{other.pid}/comm").read_text().strip()
            assert f"listen: 0.0.0.0:{port}: process {other.pid} ({name}) of user " in held
            assert held.endswith(
                f" listens on 127.0.0.1:{port}; stop the service that it belongs to, or choose another port"
            )
            other.communicate("\n", DEADLINE)
            assert warnings(echod) == []
        finally:
            other.kill()


def test_the_port_that_the_daemon_holds_is_its_own(running):
    running.write(backlog=5, listen=f"127.0.0.1:{running.port}")
    assert warnings(running) == []


def test_a_port_for_root(echod):
    need_root()
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 1024:
        skip("ports that are for root alone")
    words = ["-o", "listen=127.0.0.1:9", "-o", "backlog=5", "-o", f"pid_file={echod.home}/other.pid"]
    (port,) = warnings(echod, *words, user=65534, cwd="/")
    assert port == (
        "listen: 127.0.0.1:9: Permission denied; ports below 1024 need CAP_NET_BIND_SERVICE: "
        "start as root, or by echod.socket, or with low-port.conf"
    )


def test_more_processes_than_the_user_may_have(echod):
    need_root()
    busy = {process.uids().real for process in psutil.process_iter(["uids"])}
    user = next(entry for entry in pwd.getpwall() if entry.pw_uid not in {0, *busy, NOBODY})
    give(echod.home, user.pw_name)  # nobody is also the user of tests that run beside this one
    echod.write(backlog=5, max_children=100, user=user.pw_name)
    echod.prefix = (need("prlimit"), "--nproc=50:")
    (limit,) = warnings(echod)
    assert limit.startswith("max_children = 100 needs 1")
    assert f"of user {user.pw_name}, with those that exist, and the limit is 50 (RLIMIT_NPROC); `ulimit -u 1" in limit
    echod.run("start", check=0)
    (limit,) = warnings(echod)
    assert f"`prlimit --pid {echod.pid} --nproc=1" in limit
    mend(echod, limit, user=user.pw_uid, group=user.pw_gid, extra_groups=[])  # root needs CAP_SYS_RESOURCE for that
    assert warnings(echod) == []


def test_more_descriptors_than_a_process_may_have(echod):
    echod.write(backlog=5)
    echod.prefix = (need("prlimit"), "--nofile=12:12")
    (limit,) = warnings(echod)
    (wanted,) = re.findall(r"needs (\d+) descriptors, and the limit is 12 \(RLIMIT_NOFILE\); `ulimit -n ", limit)
    echod.prefix = ("prlimit", f"--nofile={wanted}:{wanted}")
    assert warnings(echod) == []
    echod.start()
    with echod.connect() as one, echod.connect() as two:
        for conn in (one, two):
            conn.sendall(b"x")
            assert conn.recv(1) == b"x"


def test_a_cgroup_without_room(echod):
    need_root()
    tree = Path("/sys/fs/cgroup/pids" if Path("/sys/fs/cgroup/pids").exists() else "/sys/fs/cgroup")
    group = tree / f"echod-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "pids.max").write_text("50")
    except OSError:
        skip("a cgroup that the test can make")
    try:
        echod.prefix = ("sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "sh")
        echod.write(backlog=5, max_children=100)
        (limit,) = warnings(echod)
        assert f"exist, and {group}/pids.max is 50; lower max_children to 48" in limit
        echod.write(max_children=48)
        assert warnings(echod) == []
    finally:
        group.rmdir()


def test_a_log_and_a_config_that_the_daemons_user_may_not_open(echod):
    need_root()
    logs = echod.home / "logs"
    logs.mkdir(mode=0o755)
    echod.write(backlog=5, log=f"{logs}/echod.log")
    echod.config.chmod(0o600)
    log, config = warnings(echod)
    assert log.startswith(
        f"log: {logs}/echod.log: Permission denied for user nobody; `install -d -o nobody /var/log/echod"
    )
    assert config.startswith(f"{echod.config}: Permission denied for user nobody, so a reload would fail; keep ")
    assert f"echod: warning: {config}\n" in echod.run("start", check=4).stderr, "one text, in check and in start"
    echod.config.chmod(0o644)
    echod.write(log=f"{logs}/more/echod.log")
    (log,) = warnings(echod)
    (command,) = re.findall("`(.*)`", log)
    subprocess.run(["sh", "-c", command], check=True)
    assert warnings(echod) == []
    logs.chmod(0o700)
    (log,) = warnings(echod)
    assert "Permission denied for user nobody; " in log


def test_it_describes_the_running_daemon_with_its_options_and_its_user(echod):
    echod.write(backlog=5)
    echod.run("start", "-o", "deny=127.0.0.2", "-o", "max_children=3", check=0)
    listed = echod.run("check", "--strict", check=0).stdout
    assert listed.startswith(f"# process {echod.pid}, of user ")
    assert re.search(r"^deny = 127.0.0.2 +# -o$", listed, re.MULTILINE)
    explained = echod.run("check", "--explain", "127.0.0.2", check=0).stdout
    assert explained.startswith(f"daemon   process {echod.pid}, of user ")
    assert "rule     deny 127.0.0.2 (-o)\nclients  0 of 3 (max_children, -o)\n" in explained
    assert explained.endswith("verdict  refused: access\n")
    explained = echod.run("check", "-o", "deny=", "--explain", "127.0.0.2", check=0).stdout
    assert explained.endswith("verdict  admitted\n"), "what is given here wins"
    copy = echod.home / "copy.conf"
    copy.write_text(echod.config.read_text())
    other = subprocess.run(
        [ECHOD, "-c", copy, "check", "--explain", "127.0.0.2"], capture_output=True, text=True, check=True
    ).stdout
    assert other.startswith(f"daemon   process {echod.pid} has another config, {echod.config}; a start would ")
    assert other.endswith("verdict  admitted\n")


def test_files_are_those_that_the_running_daemon_sees(public):
    """A unit's sandbox has directories that other processes do not see, and a user that exists while it runs."""
    script = f"mkdir {public}/logs && mount -t tmpfs tmpfs {public}/logs && chown nobody {public}/logs"
    with MountNamespace(script) as space:
        echod = Echod(public, prefix=space.prefix, backlog=5, log=f"{public}/logs/x.log")
        echod.run("start", check=0)
        try:
            echod.prefix = ()
            assert warnings(echod) == []
            os.chmod(f"{public}/logs", 0o700)  # of root, below what is mounted
            assert warnings(echod) == []
        finally:
            echod.run("stop", check=0)
        assert len(warnings(echod)) == 1, "no daemon sees it now"


def test_an_ordinary_user_is_told_nothing_of_roots_daemon_that_only_root_can_know(echod):
    need_root()
    echod.write(backlog=5)
    echod.run("start", check=0)
    echod.config.chmod(0o644)
    words = ["check", "--strict"]
    done = echod.run(*words, user=4711, group=4711, extra_groups=[], cwd="/")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"# process {echod.pid}, of user nobody\n")


def test_the_log_of_a_server_in_the_foreground_is_stderr(echod):
    echod.write(backlog=5, log=None)
    assert re.search("^log = syslog ", echod.run("check", check=0).stdout, re.MULTILINE)
    echod.foreground(stderr=subprocess.DEVNULL)
    assert re.search("^log = stderr ", echod.run("check", "--strict", check=0).stdout, re.MULTILINE)


def test_an_ordinary_users_daemon(echod):
    need_root()
    os.chown(echod.home, 4711, 4711)
    echod.write(backlog=5)
    user = {"user": 4711, "group": 4711, "extra_groups": [], "cwd": "/"}
    stopped = echod.run("check", "--strict", check=0, **user)
    assert stopped.stdout.startswith("# no daemon runs; `echod start` would start this one\n")
    assert re.search("^user = 4711 ", stopped.stdout, re.MULTILINE)
    echod.run("start", check=0, **user)
    running = echod.run("check", "--strict", check=0, **user)
    assert running.stdout.startswith(f"# process {echod.pid}, of user 4711\n")
    assert stopped.stderr == running.stderr == ""
    assert echod.run("check", "--strict", check=0).stdout == running.stdout, "root is told the same"


def test_no_room_for_the_scoreboard(public):
    script = f"mkdir {public}/run && mount -t tmpfs -o size=64k tmpfs {public}/run"
    with MountNamespace(script) as space:
        echod = Echod(public, prefix=space.prefix, pid_file=f"{public}/run/e.pid", max_children=1000, backlog=5)
        (room,) = warnings(echod)
        assert room.startswith(f"{public}/run: has room for 65536 bytes, and the scoreboard needs 148480 ")
        assert "needs room for max_children" in echod.run("start", check=1).stderr
        mend(echod, room)
        assert warnings(echod) == []


def test_what_would_happen_to_a_client(echod):
    echod.write(allow="127.0.0.0/8 192.0.2.0/24", deny="192.0.2.128/25", max_children=2, max_children_per_source=2)
    lines = echod.config.read_text().splitlines()
    allow, deny = (
        f"{echod.config}:{next(n for n, line in enumerate(lines, 1) if line.startswith(name))}"
        for name in ("allow", "deny")
    )

    def explain(address):
        return dict(
            line.split(maxsplit=1) for line in echod.run("check", "--explain", address, check=0).stdout.splitlines()
        )

    assert explain("192.0.2.7")["rule"] == f"allow 192.0.2.0/24 ({allow})"
    assert explain("192.0.2.7")["verdict"] == "admitted"
    assert explain("192.0.2.200")["rule"] == f"deny 192.0.2.128/25 ({deny})"
    assert explain("192.0.2.200")["verdict"] == "refused: access"
    assert explain("::1")["rule"] == f"none matches, and allow is set ({allow})"
    assert explain("127.0.0.1")["daemon"] == "no daemon runs; `echod start` would start this one"
    echod.run("start", check=0)
    with echod.connect() as one, socket.create_connection(echod.address, DEADLINE, ("127.0.0.2", 0)) as two:
        for conn in (one, two):
            conn.sendall(b"x")
            conn.recv(1)
        found = explain("127.0.0.1")
        assert found["clients"].startswith("2 of 2 (max_children, ")
        assert found["source"].startswith("1 of 2 from 127.0.0.1 (max_children_per_source, ")
        assert found["verdict"] == "waits in the accept queue until another client has disconnected"
        echod.write(max_children_per_source=1)
        assert explain("127.0.0.2")["verdict"] == "refused: per_source"
        assert explain("127.0.0.3")["verdict"] == "waits in the accept queue until another client has disconnected"
    echod.run("stop", check=0)


def test_what_is_no_address_is_a_usage_error(echod):
    done = echod.run("check", "--explain", "example.net", check=2)
    assert done.stderr.startswith("echod: --explain: 'example.net' is not a numeric address; allowed: ")
    assert done.stdout == ""
