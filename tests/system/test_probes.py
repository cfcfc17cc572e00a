"""The probes of the pages, word for word but for the port: they pass, and leave one line a minute in the log."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from support.sockets import receive_all
from support.wait import DEADLINE, need, wait_for

ROOT = Path(__file__).parents[2]
PAGES = "".join((ROOT / name).read_text() for name in ("README.md", "docs/monitoring.md"))
SETTING, HAPROXY, CHECK_TCP, BLACKBOX = "log_summary = 127.0.0.1", "backend echo\n", "    check_tcp ", "modules:\n"


def block(begin):
    """Return the part of the pages that begins so, up to the end of its block."""
    text = PAGES.partition(begin)[2]
    assert text, begin
    return begin + text.partition("```" if begin.endswith("\n") else "\n")[0]


@pytest.fixture
def daemon(echod):
    """Return a daemon with the setting that keeps probes out of the log."""
    assert SETTING in PAGES
    return echod.start(log_summary=SETTING.partition(" = ")[2])


def summary(daemon, at_least=1):
    """Stop the daemon, and return what its log says of its clients: the keys of one line."""
    daemon.wait_idle()
    daemon.run("stop", check=0)
    assert not daemon.events("close")
    assert not daemon.events("refuse")
    (line,) = daemon.events("summary")
    counts = dict(word.split("=") for word in line.split()[1:])
    assert counts["source"] == "127.0.0.1"
    assert int(counts["clients"]) >= at_least
    return counts


def test_check_tcp(daemon):
    program = need("/usr/lib/nagios/plugins/check_tcp")
    command = shlex.split(block(CHECK_TCP).replace("27978", str(daemon.port)))
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("TCP OK")
    counts = summary(daemon)
    assert (counts["in"], counts["out"]) == ("4", "4")


def test_the_blackbox_exporter(daemon, tmp_path):
    program = need("prometheus-blackbox-exporter")
    config = tmp_path / "blackbox.yml"
    config.write_text(block(BLACKBOX))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [program, f"--config.file={config}", f"--web.listen-address={address}"], stdout=file, stderr=file
        )
    try:
        wait_for(lambda: "Listening on" in log.read_text() or process.poll() is not None, "the exporter")
        url = f"http://{address}/probe?target=127.0.0.1:{daemon.port}&module=echo"
        with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
            assert "\nprobe_success 1\n" in answer.read().decode(), log.read_text()
    finally:
        process.terminate()
        process.wait(DEADLINE)
    summary(daemon)


def test_haproxys_tcp_check(daemon):
    program = need("haproxy")
    daemon.write(proxy_from="127.0.0.1")
    daemon.run("reload", check=0)
    control = daemon.home / "haproxy.sock"
    backend = block(HAPROXY).replace("27978", str(daemon.port)).replace(" check ", " check inter 50ms ")
    config = daemon.home / "haproxy.cfg"
    config.write_text(
        f"global\n    stats socket {control}\ndefaults\n    mode tcp\n    timeout connect 5s\n    timeout client 5s\n"
        f"    timeout server 5s\nlisten unused\n    bind unix@{daemon.home}/unused\n{backend}"
    )
    process = subprocess.Popen([program, "-q", "-db", "-f", str(config)])
    try:
        wait_for(lambda: daemon.status()["closed"] >= 3 or process.poll() is not None, "some checks")
        with socket.socket(socket.AF_UNIX) as conn:
            conn.connect(os.fspath(control))
            conn.sendall(b"show stat json\n")
            stats = json.loads(receive_all(conn))
        found = [{entry["field"]["name"]: entry["value"]["value"] for entry in row} for row in stats]
        assert [row["status"] for row in found if row["svname"] == "echo1"] == ["UP"]
    finally:
        process.terminate()
        process.wait(DEADLINE)
    summary(daemon, at_least=3)
