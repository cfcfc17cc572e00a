"""`echod status --json` of a daemon: each key is what the clients did."""

from __future__ import annotations

import signal

from echod import __version__
from support.stream import reset
from support.wait import wait_for

KEYS = {
    "state", "version", "pid", "uptime", "listen", "clients", "max_children", "peak_clients", "full_for",
    "accept_queue", "accepted", "closed", "ended", "refused", "last_refused", "bytes_in", "bytes_out", "generation",
    "config_file", "overrides", "last_reload", "log_lines_lost", "children",
}  # fmt: skip


def test_a_daemon_without_clients(echod):
    echod.run("-o", "max_children=7", "start", check=0)
    state = echod.status()
    assert set(state) == KEYS
    assert state["version"] == __version__
    assert state["overrides"] == ["max_children=7"]
    assert (state["full_for"], state["last_refused"]) == (None, None)
    assert (state["accept_queue"], state["log_lines_lost"]) == (0, 0)


def test_who_waits_at_a_full_server_and_since_when(echod):
    echod.start(max_children=2)
    inside = [echod.connect() for _ in range(2)]
    wait_for(lambda: echod.status()["full_for"] is not None, "it to be full")
    outside = [echod.connect() for _ in range(3)]
    wait_for(lambda: echod.status()["accept_queue"] == 3, "three to wait")
    state = echod.status()
    assert state["clients"] == 2
    echod.run("reload", check=0)
    assert echod.status()["full_for"] >= state["full_for"], "a reload makes no room"
    inside[0].close()
    wait_for(lambda: echod.status()["accept_queue"] == 2, "the first of them to be accepted")
    assert echod.status()["full_for"] is not None
    echod.write(max_children=9)
    echod.run("reload", check=0)
    wait_for(lambda: echod.status()["accept_queue"] == 0, "all to be accepted")
    assert echod.status()["full_for"] is None
    for conn in inside + outside:
        conn.close()


def test_why_clients_ended(echod):
    echod.start(idle_timeout="500ms")
    echod.connect().close()
    conn = echod.connect()
    conn.sendall(b"x")
    assert conn.recv(1) == b"x"
    reset(conn)
    with echod.connect() as idle:
        assert idle.recv(1) == b""
    echod.write(idle_timeout="1min")  # or a busy machine lets the next client be idle for too long, too
    echod.run("reload", check=0)
    with echod.connect() as killed:
        wait_for(lambda: len(echod.children()) == 1, "the child")
        echod.children()[0].send_signal(signal.SIGKILL)
        assert killed.recv(1) == b""
    state = echod.wait_idle()
    assert {reason: count for reason, count in state["ended"].items() if count} == {
        "eof": 1, "reset": 1, "idle": 1, "signal": 1,
    }  # fmt: skip
    assert sum(state["ended"].values()) == state["closed"] == state["accepted"]


def test_who_was_refused_last(echod):
    echod.start(deny="127.0.0.2", max_children=1, over_limit="refuse")
    with echod.connect(source_address=("127.0.0.2", 0)) as refused:
        host, port = refused.getsockname()
        assert refused.recv(1) == b""
    wait_for(lambda: echod.status()["last_refused"], "the refusal")
    last = echod.status()["last_refused"]
    assert 0 <= last.pop("age") < 60
    assert last == {"peer": f"{host}:{port}", "reason": "access"}
    with echod.connect() as inside:
        wait_for(lambda: echod.status()["clients"], "the client")
        with echod.connect() as outside:
            assert outside.recv(1) == b""
        wait_for(lambda: echod.status()["last_refused"]["reason"] == "over_limit", "another refusal")
        inside.close()
    assert echod.status()["refused"] == {"over_limit": 1, "per_source": 0, "access": 1, "proxy": 0, "fork_failed": 0}


def test_lines_that_the_log_lost(echod):
    echod.start(log="/dev/full")
    before = echod.status()["log_lines_lost"]
    echod.connect().close()
    echod.wait_idle()
    assert before >= 1, "ready"
    assert echod.status()["log_lines_lost"] == before + 1, "close"
    echod.write(log=str(echod.log))
    echod.run("reload", check=0)
    assert echod.status()["log_lines_lost"] == before + 1, "another log does not make good for it"
