"""Sockets of systemd's: one daemon for several, restarted under load; and one process for each client."""

from __future__ import annotations

import json

from support.systemd_box import UNITS
from support.wait import wait_for

SERVICE, SOCKET = UNITS / "echod.service", UNITS / "echod.socket"
# Clients one after another in each of a few threads, until a file says to stop: how many, and what went wrong.
LOAD = """
import collections, json, os, socket, threading
found = collections.Counter()
def client():
    while not os.path.exists("/run/enough"):
        try:
            with socket.create_connection(("127.0.0.1", 27978), 20) as conn:
                conn.sendall(b"x" * 5000)
                conn.shutdown(socket.SHUT_WR)
                back = sum(map(len, iter(lambda: conn.recv(65536), b"")))
            found["echoed" if back == 5000 else "drained"] += 1
        except OSError as error:
            found[type(error).__name__] += 1
threads = [threading.Thread(target=client) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(found))
"""


def served(box):
    """Return how many clients the daemon has had, 0 when there is none."""
    state = json.loads(box.run("echod status --json", None))
    return state.get("accepted", 0)


def test_the_first_client_starts_it(boot):
    box = boot(SERVICE, SOCKET)
    box.run("systemd-analyze verify --man=no /etc/systemd/system/echod.socket")
    box.run("systemctl start echod.socket")
    assert box.show("ActiveState") == "inactive"
    assert box.echo("wake up") == "wake up"
    state = box.status()
    assert (str(state["pid"]), state["listen"], state["accepted"]) == (box.show("MainPID"), ["[::]:27978"], 1)
    box.configure("listen = *:99\nmax_children = 3")
    assert "listen: *:27978 -> *:99 (needs a restart)" in box.run("echod reload")
    assert box.echo("same socket") == "same socket"
    box.run("systemctl stop echod 2>/dev/null")
    assert box.echo("and again") == "and again"


def test_several_sockets(boot):
    box = boot(SERVICE, SOCKET)
    lines = "ListenStream=127.0.0.1:4021\nListenStream=[::1]:4022"
    box.write("/etc/systemd/system/echod.socket.d/more.conf", f"[Socket]\n{lines}\n")
    box.run("systemctl daemon-reload; systemctl start echod.socket")
    assert box.echo("one", 4021) == "one"
    assert box.run("printf two | nc.openbsd -N ::1 4022") == "two"
    assert box.echo("three") == "three"
    assert box.status()["listen"] == ["[::]:27978", "127.0.0.1:4021", "[::1]:4022"]


def test_a_restart_under_load_refuses_nobody(boot):
    box = boot(SERVICE, SOCKET)
    box.write("/run/load.py", LOAD)
    box.run("systemctl start echod.socket; python3 /run/load.py >/run/found 2>&1 &")
    for _ in range(3):
        wait_for(lambda: served(box) > 50, "load")
        pid = box.show("MainPID")
        box.run("systemctl restart echod")
        assert box.show("MainPID") != pid
    box.run("touch /run/enough; wait")
    found = json.loads(box.run("cat /run/found"))
    # A client whose bytes had not arrived when the drain began gets an orderly end. No client gets an error.
    assert found.keys() <= {"echoed", "drained"}, found
    assert found.get("drained", 0) <= 3 * 4, found
    assert found["echoed"] > 150


def test_one_process_a_client(boot):
    box = boot(UNITS / "echod@.service", SOCKET, UNITS / "echod.socket.d")
    box.run("systemd-analyze verify --man=no /etc/systemd/system/echod@.service")
    box.run("systemctl start echod.socket")
    box.run("mkfifo /run/in /run/out; nc.openbsd -N 127.0.0.1 27978 </run/in >/run/out & exec 7>/run/in 8</run/out")
    assert box.run("printf 'one\\n' >&7; read -r line <&8; echo $line") == "one\n"
    assert box.echo("another") == "another"
    assert box.show("NConnections", "echod.socket") == "1"
    wait_for(lambda: "reason=eof in=7 out=7" in box.run("journalctl --no-pager -t echod"), "the line in the journal")
    (unit,) = box.run("systemctl list-units --plain --no-legend 'echod@*'").split()[:1]
    assert box.run(f"stat -c %U /proc/{box.show('MainPID', unit)}") == "echod\n"
    box.run(f"systemctl stop '{unit}'; exec 7>&-; cat <&8; exec 8<&-")
    wait_for(lambda: "reason=drain in=4 out=4" in box.run("journalctl --no-pager -t echod"), "the drain")
    wait_for(lambda: not box.run("systemctl list-units --all --plain --no-legend 'echod@*'"), "nothing left")
