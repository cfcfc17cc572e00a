"""The config as people write it: its forms, its errors, and where `-c` and `-o` stand."""

from __future__ import annotations

import json
import os
import socket

import pytest

from support.daemon import Echod
from support.network import Hosts
from support.processes import NOBODY
from support.sockets import exchange
from support.wait import DEADLINE, need_root


def test_a_file_from_another_system_with_comments_and_words_in_any_case(echod):
    lines = [
        "\ufeff[echod] # the daemon",
        "listen = 127.0.0.1:0, [::1]:0   ; both",
        f"pid_file={echod.pid_file}\t# its own",
        "log = None",
        "idle_timeout = 1H 30Min",
        "over_limit = Refuse",
        "allow = 127.0.0.0/8 ::1",
        "log_clients = 0",
        "",
    ]
    echod.config.write_bytes("\r\n".join(lines).encode())
    echod.run("start", check=0)
    for name in echod.status()["listen"]:
        host, _, port = name.rpartition(":")
        assert exchange((host.strip("[]"), int(port)), b"hello") == b"hello"
    shown = dict(line.split(" = ") for line in echod.run("check", check=0).stdout.splitlines() if " = " in line)
    assert shown["idle_timeout"].split()[0] == "90min"
    assert [name for name in os.listdir(echod.home) if name.endswith(".log")] == []
    echod.run("stop", check=0)


def test_no_log_and_then_one_after_a_reload(echod):
    echod.start(log="none", log_level="debug")
    assert exchange(echod.address, b"not logged") == b"not logged"
    echod.wait_idle()
    echod.run("reopen", check=0)
    assert not echod.log.exists()
    echod.write(log=str(echod.log))
    assert "log: none -> " in echod.run("reload", check=0).stdout
    assert exchange(echod.address, b"logged") == b"logged"
    echod.wait_idle()
    assert len(echod.events("close")) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('user = "nobody"', """user: '"nobody"' is in quotes; leave them out"""),
        ("user = no-such", "user: there is no user 'no-such'; allowed: one that exists, by name or number"),
        ("group = no-such", "group: there is no group 'no-such'; allowed: one that exists, by name or number"),
        ("port = 7", "port: unknown setting; did you mean listen?"),
        ("lisen = *:7", "lisen: unknown setting; did you mean listen?"),
        (
            "log = echod.log",
            "log: 'echod.log' is not a path from /, and not one of the words; allowed: syslog, stderr, ",
        ),
        ("idle_timeout = 10", "idle_timeout: '10' has no unit; allowed: a time with its unit, such as "),
        ("listen = [fe80::1]:7", "listen: '[fe80::1]:7' has no interface, such as "),
        ("backlog = 5\nbacklog = 6", "backlog: set twice, first at "),
    ],
)
def test_an_error_names_its_line_and_what_is_allowed(echod, line, message):
    echod.config.write_text(f"[echod]\n# a comment\npid_file = {echod.pid_file}\n{line}\n")
    number = 4 + line.count("\n")
    for command in ("check", "start", "run"):
        done = echod.run(command, check=6)
        assert done.stdout == ""
        assert done.stderr.startswith(f"echod: {echod.config}:{number}: {message}"), done.stderr
        assert done.stderr.count("\n") == 1


def test_an_ordinary_user_who_names_another_is_told_the_line(echod):
    need_root()
    echod.write(user="mail")
    number = echod.config.read_text().splitlines().index("user = mail") + 1
    done = echod.run("check", check=4, user=NOBODY)
    assert done.stderr.startswith(f"echod: {echod.config}:{number}: user: only root can become 'mail'; allowed: ")


def test_options_stand_before_or_after_the_command(running):
    where = ["-o", f"pid_file={running.pid_file}"]
    for words in ([*where, "status", "--json"], ["status", *where, "--json"], ["status", "--json", *where]):
        assert json.loads(running.run("-c", "/dev/null", *words, check=0).stdout)["pid"] == running.pid
    running.write(max_children=3, log_level="debug")
    running.run("reload", "-c", str(running.config), check=0)
    assert running.status()["max_children"] == 3
    running.run("restart", "-o", "max_children=4", check=0)
    assert running.status()["max_children"] == 4
    running.run("stop", "-c", "/dev/null", *where, check=0)


def test_a_link_local_address_with_its_interface(public):
    with Hosts() as hosts:
        hosts.ip(hosts.here, "address", "add", "fe80::1/64", "dev", "cable", "nodad")
        echod = Echod(public, prefix=hosts.prefix, listen="[fe80::1%cable]:0")
        try:
            echod.start()
            (name,) = echod.status()["listen"]
            assert name.startswith("[fe80::1%cable]:")
            with hosts.enter(hosts.here), socket.socket(socket.AF_INET6) as conn:
                conn.settimeout(DEADLINE)
                conn.connect(("fe80::1", int(name.rpartition(":")[2]), 0, socket.if_nametoindex("cable")))
                conn.sendall(b"hello")
                conn.shutdown(socket.SHUT_WR)
                assert conn.recv(100) == b"hello"
        finally:
            echod.cleanup()
