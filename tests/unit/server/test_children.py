from __future__ import annotations

import os
import re
import signal

import pytest

from echod.common import scoreboard
from echod.server.lean.slots import FREE, RECORDED, SLOTS_AT_ONCE, SPAWNED
from echod.server.lean.warm_up import warm_up
from echod.server.process import highest_fd
from echod.session.bulk import MAPPING, POLLER
from echod.session.session import Session
from support.family import ADDRESS, COUNTED, PEER, Family, exited
from support.processes import isolated
from support.sockets import settings, tcp_pair
from support.wait import wait_for


def test_a_child_is_spawned_then_recorded_then_exited():
    def check():
        family = Family()
        client = family.spawn()
        ((pid, child),) = family.children.table.items()
        assert (child.state, child.address, child.peer) == (SPAWNED, ADDRESS, "")
        assert family.reader.copy().clients() == []
        assert family.children.reap() == ([], {})
        assert (child.state, child.peer) == (RECORDED, PEER)
        assert [entry[:2] for entry in family.reader.copy().clients()] == [(pid, PEER)]
        assert family.words(*COUNTED) == [1, 0, 1]
        client.sendall(b"hello")
        assert client.recv(10) == b"hello"
        client.close()
        exited(pid)
        assert family.children.reap() == ([ADDRESS], {})
        assert (child.state, child.address, child.peer) == (FREE, (), "")
        assert family.children.table == {}
        assert family.reader.copy().clients() == []
        (line,) = family.lines.texts
        assert re.fullmatch(rf"close peer={PEER} child={pid} reason=eof in=5 out=5 secs=\d+\.\d{{3}}", line)
        assert family.words(*COUNTED) == [1, 1, 1]

    isolated(check)


def test_only_those_not_yet_recorded_are_recorded():
    def check():
        family = Family()
        clients = [family.spawn(("192.0.2.1", number)) for number in range(3)]
        family.children.reap()
        clients += [family.spawn(("192.0.2.1", number)) for number in range(3, 5)]
        assert [child.state for child in family.children.table.values()] == [RECORDED] * 3 + [SPAWNED] * 2
        family.children.reap()
        assert family.words(*COUNTED) == [5, 0, 5]
        peers = sorted(entry[1] for entry in family.reader.copy().clients())
        assert peers == [f"192.0.2.1:{number}" for number in range(5)]
        for client in clients:
            client.close()
        assert family.reasons() == ["eof"] * 5

    isolated(check)


def test_the_caller_closes_the_connection_and_the_child_all_but_its_own():
    def check():
        family = Family()
        client, conn = tcp_pair()
        fd = conn.fileno()
        os.dup2(0, highest_fd() - 1)
        family.children.highest_fd = highest_fd()
        family.children.spawn(fd, ADDRESS)
        os.fstat(fd)  # the caller's, still
        conn.close()
        path = f"/proc/{family.only()}/fd"
        wait_for(lambda: sorted(map(int, os.listdir(path))) == [0, 1, 2, fd], "all others to be closed")
        client.close()
        family.reap()

    isolated(check)


def test_many_that_exit_at_once_are_all_reaped():
    def check():
        family = Family()
        clients = [family.spawn() for _ in range(150)]
        pids = list(family.children.table)
        for pid in pids[::2]:
            os.kill(pid, signal.SIGKILL)
        for client in clients:
            client.close()
        exited(*pids)
        assert family.children.reap() == ([ADDRESS] * 150, {}), "in one call"
        assert family.children.table == {}
        assert sorted(family.reasons()) == ["eof"] * 75 + ["signal=SIGKILL"] * 75
        ends = family.reader.copy().ends()
        assert (ends["eof"], ends["signal"], sum(ends.values())) == (75, 75, 150)
        assert family.words(scoreboard.ACCEPTED, scoreboard.CLOSED) == [150, 150]
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    isolated(check)


def test_slots_are_taken_some_at_a_time_but_none_that_has_no_room():
    def check():
        family = Family()
        family.board.words[scoreboard.MAX_CHILDREN] = most = SLOTS_AT_ONCE + 4
        clients = [family.spawn()]
        assert family.words(scoreboard.TOP) == [SLOTS_AT_ONCE]
        clients += [family.spawn() for _ in range(most - 1)]
        assert family.words(scoreboard.TOP) == [most]
        slots = [child.slot for child in family.children.table.values()]
        assert slots == sorted(set(slots)), "the lowest first: those that are not used yet are the last ones"
        clients.append(family.spawn())
        assert family.words(scoreboard.TOP) == [most + 1], "after a reload that lowers max_children"
        for client in clients:
            client.close()
        family.reap()

    isolated(check)


def test_clients_one_after_another_were_never_two_at_once():
    def check():
        family = Family()
        for _ in range(20):  # recorded and reaped together, as in a burst
            family.spawn().close()
            exited(list(family.children.table)[-1])
        assert family.reasons() == ["eof"] * 20
        assert family.words(*COUNTED) == [20, 20, 1]

    isolated(check)


def test_the_peak_is_how_many_were_there_at_once():
    def check():
        family = Family()
        clients = [family.spawn() for _ in range(5)]
        for client in clients:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        for client in clients:
            client.close()
        exited(*family.children.table)
        family.reap()
        assert family.words(*COUNTED) == [5, 5, 5], "though none was there when they were recorded"
        family.spawn().close()
        family.reap()
        assert family.words(*COUNTED) == [6, 6, 5]

    isolated(check)


def test_a_process_that_served_no_client_is_reaped_and_returned():
    def check():
        family = Family()
        orphan = os.fork()
        if orphan == 0:
            os._exit(0)
        client = family.spawn()
        exited(orphan)
        assert family.children.reap() == ([], {orphan: 0})
        with pytest.raises(ChildProcessError):
            os.waitpid(orphan, os.WNOHANG)
        client.close()
        assert family.reasons() == ["eof"]
        assert family.words(scoreboard.ACCEPTED, scoreboard.CLOSED) == [1, 1]

    isolated(check)


@pytest.mark.parametrize("overrides", [[], ["proxy_from=10.0.0.0/8", "allow=127.0.0.1"], ["proxy_from=::/0"]])
def test_the_warm_up_leaves_nothing_behind(overrides):
    def check():
        family = Family("log_level=debug")
        fds = os.listdir("/proc/self/fd")
        family.configure("max_lifetime=1ms")
        for _ in range(3):
            warm_up(family.children, settings("max_lifetime=1ms", "log_level=debug", *overrides), family.board)
        assert family.words(*COUNTED) == [0, 0, 0]
        for number in range(family.board.words[scoreboard.TOP]):
            slot = (scoreboard.SLOTS_AT + number * scoreboard.SLOT) // scoreboard.WORD_SIZE
            assert not any(family.board.words[slot : slot + scoreboard.ENDED + 1])
            assert not family.board.read_text(slot)
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0), "a timer would wake the daemon"
        assert os.listdir("/proc/self/fd") == fds
        assert POLLER.poll(0) == [], "a child would take its descriptor for bulk that comes"
        assert family.lines.texts == [], "nothing has happened to a client"
        assert not any(MAPPING[:100]), "the memory of the bulk was not given back"
        client = family.spawn()
        assert client.recv(1) == b""
        client.close()
        assert family.reasons() == ["lifetime"]
        assert signal.getsignal(signal.SIGALRM) == signal.SIG_IGN

    isolated(check)


@pytest.mark.parametrize("overrides", [[], ["proxy_from=10.0.0.0/8"]])
def test_the_warm_up_finds_a_session_that_is_broken(overrides):
    def check():
        family = Family()
        assert not warm_up(family.children, settings(*overrides), family.board)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Session, "run", lambda *_: 1 // 0)
            place = warm_up(family.children, settings(*overrides), family.board)
        assert place.startswith("ZeroDivisionError ")
        assert "test_children.py:" in place
        assert not family.children.table

    isolated(check)


def test_new_limits_are_for_the_children_to_come():
    def check():
        family = Family()
        before = family.spawn()
        family.configure("max_lifetime=50ms")
        after = family.spawn()
        assert after.recv(1) == b""
        after.close()
        before.sendall(b"x")
        assert before.recv(1) == b"x"
        before.close()
        assert sorted(family.reasons()) == ["eof", "lifetime"]

    isolated(check)


@pytest.mark.parametrize("recorded", ["before the header", "after it", "never"])
def test_the_client_that_a_proxy_names_is_the_peer(recorded):
    def check():
        family = Family()
        family.configure("proxy_from=127.0.0.1")
        client = family.spawn()
        if recorded == "before the header":
            family.children.reap()
            assert [entry[1] for entry in family.reader.copy().clients()] == [PEER]
        client.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 51514 7\r\necho")
        assert client.recv(10) == b"echo"
        if recorded != "never":
            family.children.reap()
            assert [entry[1] for entry in family.reader.copy().clients()] == ["192.0.2.7:51514"]
        client.close()
        family.reap()
        assert family.addresses == [ADDRESS]
        (line,) = family.lines.texts
        assert line.startswith("close peer=192.0.2.7:51514 ")

    isolated(check)


def test_a_client_that_its_child_refuses_is_counted_as_refused():
    def check():
        family = Family()
        family.configure("proxy_from=127.0.0.1", "deny=192.0.2.7")
        for header in (b"GET / HTTP/1.1\r\n", b"PROXY TCP4 192.0.2.7 192.0.2.1 51514 7\r\n"):
            client = family.spawn()
            client.sendall(header)
            family.reap()
            client.close()
        assert family.lines.texts == [f"refuse peer={PEER} reason=proxy", "refuse peer=192.0.2.7:51514 reason=access"]
        ends = {reason: count for reason, count in family.reader.copy().ends().items() if count}
        assert ends == {"proxy": 1, "access": 1}
        assert family.words(scoreboard.PROXY, scoreboard.ACCESS, *COUNTED) == [1, 1, 2, 2, 1]

    isolated(check)


def test_a_reload_that_turns_it_on_finds_the_peers_of_those_there_are():
    def check():
        family = Family()
        clients = [family.spawn()]
        family.configure("proxy_from=127.0.0.1")
        clients.append(family.spawn(("192.0.2.1", 8)))
        family.configure()
        family.children.reap()
        assert sorted(entry[1] for entry in family.reader.copy().clients()) == [PEER, "192.0.2.1:8"]
        for client in clients:
            client.close()
        family.reap()

    isolated(check)
