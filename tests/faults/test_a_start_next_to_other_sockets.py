"""Pairs of configurations, and sockets of other processes: `check`, `reload`, `restart` and `start` agree.

If the running daemon could have continued, no command leaves the machine without one.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from support.daemon import Echod
from support.sockets import exchange, port_of_its_own
from support.wait import alive

ADDRESSES = ["*:P", "0.0.0.0:P", "[::]:P", "127.0.0.1:P", "127.0.0.2:P", "[::1]:P", "localhost:P", "127.0.0.1:Q"]
NOWHERE = "192.0.2.1:P"  # TEST-NET-1 (RFC 5737)
LISTS = st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=3, unique=True).map(" ".join)
WRONG = {
    "directory": "/nonexistent", "log": "/nonexistent/log", "user": "no-such-user", "group": "no-such-group",
    "log_level": "loud",
}  # fmt: skip
OTHERS = st.lists(
    st.sampled_from([("127.0.0.1", "P"), ("127.0.0.2", "P"), ("::1", "P"), ("127.0.0.1", "Q")]), max_size=2
)


@contextmanager
def daemon():
    """Give a daemon that is not started, and is ended afterwards, and two ports."""
    home = Path(tempfile.mkdtemp(prefix="echod-test-"))
    home.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(home, "nobody")
    echod = Echod(home, log="none", backlog=16, drain_timeout="0s")
    try:
        yield echod, {"P": port_of_its_own(), "Q": port_of_its_own()}
    finally:
        echod.cleanup()
        shutil.rmtree(home)


def open_socket(host, port, *, listens):
    """Return a socket of another process, or None if the daemon has the address."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, listens)
        sock.bind((host, port))
        if listens:
            sock.listen()
    except OSError:
        sock.close()
        return None
    return sock


def serves(echod):
    """See that the daemon serves at each address that it names; return its pid."""
    state = echod.status()
    assert state["state"] == "running"
    for name in state["listen"]:
        host, _, port = name.rpartition(":")
        host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))
        assert exchange((host, int(port)), b"x") == b"x", name
    return state["pid"]


@settings(
    max_examples=int(os.environ.get("ECHOD_PAIRS", "6")),
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(old=LISTS, new=LISTS, wrong=st.sampled_from(["", "", "", *WRONG]), others=OTHERS)
@example(old="*:P", new=NOWHERE, wrong="", others=[])
@example(old="127.0.0.1:P", new="*:P", wrong="", others=[("127.0.0.2", "P")])
@example(old="[::1]:P", new="[::]:P *:Q", wrong="", others=[("127.0.0.1", "Q")])
@example(old="*:P", new="*:P 127.0.0.1:P", wrong="", others=[])
@example(old="*:P", new="localhost:P 127.0.0.1:P", wrong="", others=[])
@example(old="127.0.0.1:P [::1]:P", new="0.0.0.0:P", wrong="", others=[])
@example(old="*:P", new="*:P", wrong="directory", others=[])
@example(old="*:P", new="*:P", wrong="user", others=[])
def test_no_restart_ends_without_a_daemon(old, new, wrong, others):
    with daemon() as (echod, ports), ExitStack() as stack:

        def of(text):
            return text.replace("P", str(ports["P"])).replace("Q", str(ports["Q"]))

        echod.write(listen=of(old))
        fit = echod.run("check", "--strict").returncode == 0
        started = echod.run("start").returncode
        assert (started == 0) == fit
        if started:
            return
        for host, port in others:
            if sock := open_socket(host, ports[port], listens=True):
                stack.enter_context(sock)
        pid = serves(echod)
        echod.write(listen=of(new), **({wrong: WRONG[wrong]} if wrong else {}))
        fit = echod.run("check", "--strict").returncode
        reloaded = echod.run("reload").returncode
        assert serves(echod) == pid
        restarted = echod.run("restart")
        assert (restarted.returncode == 0) == (fit == 0), restarted.stderr
        if restarted.returncode == 0:
            assert not alive(pid)
            assert serves(echod) != pid
        else:
            assert reloaded, "a reload accepts what no later start does"
            assert serves(echod) == pid
        echod.run("stop", check=0)
        assert echod.run("start").returncode == restarted.returncode
