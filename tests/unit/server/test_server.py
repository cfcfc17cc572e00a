from __future__ import annotations

import math
import os
import signal
import socket
import time
from types import SimpleNamespace

import pytest

from echod.common import scoreboard
from echod.common.config import file
from echod.common.config.settings import load
from echod.common.errors import BAD_CONFIG, DONE, FAILED
from echod.common.launch import Launch
from echod.common.scoreboard import DRAINING, RUNNING, STARTING, Scoreboard
from echod.common.sockets import bind_all
from echod.common.succession import Succession
from echod.log import rates
from echod.server.acceptor import CLOSED, FULL, OPEN, Acceptor
from echod.server.manager import Manager
from echod.server.process import OomScore
from echod.server.reload import Change
from echod.server.server import QUIET_MS, Server
from support.processes import fork, isolated, reap, state
from support.sockets import exchange, make_board, memory_log
from support.wait import DEADLINE, wait_for

BASIC = ("listen = 127.0.0.1:0", "drain_timeout = 5s")


class Daemon:
    """A server in this process, whose config file is `path` and whose log is in memory."""

    def __init__(self, path, *lines):
        self.path = path
        self.write(*lines)
        config = load(str(path), [], "/", log="stderr")
        launch = Launch(config_file=str(path), base="/", log=config.log)
        log, self.lines = memory_log(f"log_level={config.log_level}")
        board = make_board(config.max_children)
        self.reader = Scoreboard(board.fd)
        first = Change(config, bind_all(list(config.listen), config), log.sink, [])
        self.server = Server(launch, Succession(), first, log, board, manager=Manager(-1), oom=OomScore())
        self.address = first.listeners[0].sock.getsockname()

    def write(self, *lines):
        self.path.write_text("\n".join(["[echod]", *BASIC, *lines, ""]))

    def connect(self):
        return socket.create_connection(self.address, timeout=DEADLINE)

    def words(self, *words):
        return [self.reader.words[word] for word in words]

    def text(self, key):
        return self.reader.texts().get(key, "")

    def signal(self, *signums):
        """Have these signals pending at the same moment, and act on them."""
        for signum in signums:
            os.kill(os.getpid(), signum)
        self.server.process_signals()
        while self.server.reader.pid:
            wait_for(self.reloaded, "the child that reads")

    def reloaded(self):
        """Reap, and return True if no child reads for a reload."""
        pid = self.server.reader.pid
        self.server.reap()
        return self.server.reader.pid != pid

    def accept(self):
        """Accept who waits, as one turn of the loop does."""
        acceptor, signals = self.server.acceptor, self.server.signals

        def accepted():
            ready = [fd for fd, _event in self.server.poller.poll(0) if fd != signals.fd]
            return sum(acceptor.accept(acceptor.listeners[fd]) for fd in ready)

        wait_for(accepted, "a client to be accepted")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "echod.conf"


def is_served(client):
    client.sendall(b"x")
    return client.recv(1) == b"x"


def test_the_first_settings_are_in_force_before_it_runs(path):
    def check():
        daemon = Daemon(path, "max_children = 3", "idle_timeout = 2s")
        server = daemon.server
        assert server.state == STARTING
        assert server.acceptor.state == OPEN
        assert server.signals.pending == set()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
        assert server.timeout() is None, "an idle server has no deadline"
        assert daemon.words(scoreboard.STATE) == [STARTING]

    isolated(check)


def test_what_is_in_force_is_published(path):
    def check():
        daemon = Daemon(path, "max_children = 3")
        daemon.server.set_state(RUNNING)
        words = (scoreboard.STATE, scoreboard.MAX_CHILDREN, scoreboard.DRAIN_MS, scoreboard.GENERATION)
        assert daemon.words(*words) == [RUNNING, 3, 5000, 1]
        assert daemon.text("listen") == "{}:{}".format(*daemon.address)
        assert daemon.text("config_file") == str(path)
        assert daemon.text("last_reload") == "never"

    isolated(check)


def test_a_reload_puts_all_in_force_and_answers(path):
    def check():
        daemon = Daemon(path)
        clients = [daemon.connect() for _ in range(2)]
        daemon.accept()
        daemon.path.write_text("[echod]\nlisten = 127.0.0.1:0\nmax_children = 1\ndrain_timeout = never\n")
        daemon.signal(signal.SIGHUP)
        server = daemon.server
        assert (server.config.max_children, server.acceptor.state) == (1, FULL)
        words = (scoreboard.MAX_CHILDREN, scoreboard.DRAIN_MS, scoreboard.GENERATION)
        assert daemon.words(*words) == [1, scoreboard.NEVER, 2]
        assert server.board.drain_timeout() is None, "for those who are being served, too"
        answer = (scoreboard.RELOADS_BEGUN, scoreboard.RELOADS_DONE, scoreboard.RELOAD_CODE)
        assert daemon.words(*answer) == [1, 1, DONE]
        assert daemon.reader.copy().changes() == ["max_children: 256 -> 1", "drain_timeout: 5s -> never"]
        (line,) = daemon.lines.events("reload")
        assert line.startswith("reload generation=2 changed='max_children: 256 -> 1; ")
        for client in clients:
            client.close()

    isolated(check)


def test_a_reload_that_fails_changes_nothing_and_says_why(path):
    def check():
        daemon = Daemon(path)
        before = daemon.server.config
        daemon.write("max_children = many")
        daemon.signal(signal.SIGHUP)
        assert daemon.server.config is before
        assert daemon.words(scoreboard.GENERATION, scoreboard.RELOAD_CODE) == [1, BAD_CONFIG]
        assert daemon.text("last_reload").startswith(f"{path}:4: max_children: 'many'")
        (line,) = daemon.lines.events("error")
        assert line.startswith("error call=reload why=")
        assert exchange_with(daemon, b"on") == b"on"
        daemon.write()
        daemon.signal(signal.SIGHUP)
        assert daemon.words(scoreboard.RELOADS_DONE, scoreboard.RELOAD_CODE) == [2, DONE]
        assert daemon.text("last_reload") == "ok"

    isolated(check)


def test_a_reload_without_memory_to_read_the_config_fails_and_no_more(path):
    def check():
        daemon = Daemon(path)
        before = daemon.server.config

        def fail(*_args):
            raise MemoryError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(file, "read_all", fail)
            daemon.signal(signal.SIGHUP)
        assert daemon.server.config is before
        answer = (scoreboard.RELOADS_DONE, scoreboard.RELOAD_CODE, scoreboard.GENERATION)
        assert daemon.words(*answer) == [1, FAILED, 1]
        assert daemon.text("last_reload") == "reload: out of memory"
        daemon.signal(signal.SIGHUP)
        assert daemon.words(*answer) == [2, DONE, 2]

    isolated(check)


def exchange_with(daemon, data):
    """Send and receive, with this process as the server."""
    with daemon.connect() as client:
        client.sendall(data)
        daemon.accept()
        return client.recv(len(data), socket.MSG_WAITALL)


def test_a_reload_moves_listeners(path):
    def check():
        daemon = Daemon(path)
        waiting = daemon.connect()
        daemon.path.write_text("[echod]\nlisten = 127.0.0.2:0\n")
        daemon.signal(signal.SIGHUP)
        assert is_served(waiting)
        with pytest.raises(ConnectionRefusedError):
            daemon.connect()
        assert daemon.text("listen").startswith("127.0.0.2:")
        daemon.address = daemon.server.acceptor.all()[0].sock.getsockname()
        assert exchange_with(daemon, b"there") == b"there"
        waiting.close()

    isolated(check)


def test_a_reload_moves_the_log(path, tmp_path):
    def check():
        daemon = Daemon(path, f"log = {tmp_path}/log")
        log, old = daemon.server.log, daemon.server.log.sink
        daemon.write(f"log = {tmp_path}/other")
        daemon.signal(signal.SIGHUP)
        server = daemon.server
        assert server.children.log is server.acceptor.log is server.log is log
        assert log.sink is not old
        assert ": reload generation=2" in (tmp_path / "other").read_text()

    isolated(check)


def test_a_reload_writes_the_summary_to_the_log_there_was(path, tmp_path):
    def check():
        daemon = Daemon(path, "log_summary = 127.0.0.1")
        daemon.signal(signal.SIGHUP)
        assert exchange_with(daemon, b"x") == b"x"
        wait_for(lambda: daemon.server.children.reap()[0] or not daemon.server.children.table, "the child to be reaped")
        daemon.write(f"log = {tmp_path}/log", "log_summary = 127.0.0.1")
        daemon.signal(signal.SIGHUP)
        (line,) = daemon.lines.events("summary")
        assert line.startswith("summary source=127.0.0.1 clients=1 in=1 out=1 eof=1 secs=")
        assert not daemon.lines.events("close")
        assert "summary" not in (tmp_path / "log").read_text()

    isolated(check)


def test_a_summary_is_written_when_it_is_due_though_nobody_comes(path, monkeypatch):
    def check():
        monkeypatch.setattr(rates, "PERIOD_S", 0.05)
        daemon = Daemon(path, "log_summary = 127.0.0.1")
        daemon.signal(signal.SIGHUP)
        server = daemon.server
        assert server.log.summaries.add("127.0.0.1:7", "eof", 1, 1)
        assert 0 <= (server.timeout() or 0) <= 50

        def written():
            server.tick()
            return daemon.lines.events("summary")

        wait_for(written, "the line")
        assert server.timeout() is None, "an idle server has no deadline"

    isolated(check)


def test_an_old_log_that_cannot_be_closed_does_not_stop_a_reload(path, tmp_path):
    def check():
        daemon = Daemon(path)
        sink = daemon.server.log.sink

        def close():
            raise OSError(5, "Input/output error")

        sink.close = close  # type: ignore[method-assign]
        daemon.write(f"log = {tmp_path}/log")
        daemon.signal(signal.SIGHUP)
        assert daemon.words(scoreboard.RELOAD_CODE) == [DONE]
        assert "error call=close why='Input/output error'" in (tmp_path / "log").read_text()

    isolated(check)


def test_while_draining_a_reload_is_refused(path):
    def check():
        daemon = Daemon(path)
        daemon.signal(signal.SIGTERM, signal.SIGHUP)
        assert daemon.server.state == DRAINING
        assert daemon.words(scoreboard.RELOADS_DONE, scoreboard.RELOAD_CODE) == [1, FAILED]
        assert daemon.text("last_reload") == "the daemon is about to stop"

    isolated(check)


@pytest.mark.parametrize(
    ("signums", "timeouts"),
    [
        ([signal.SIGTERM], [5.0]),
        ([signal.SIGQUIT], [5.0]),
        ([signal.SIGINT], [0.0]),
        ([signal.SIGINT, signal.SIGTERM], [0.0]),
        ([signal.SIGTERM, signal.SIGQUIT], [5.0]),
    ],
)
def test_a_stop_closes_the_listeners_and_begins_a_drain(path, signums, timeouts):
    def check():
        daemon = Daemon(path)
        client = daemon.connect()
        begun: list[float | None] = []
        daemon.server.drain = SimpleNamespace(begin=begun.append, tick=lambda _now: None, due=math.inf)  # type: ignore[assignment]
        daemon.signal(*signums)
        assert daemon.server.state == DRAINING
        assert daemon.server.acceptor.state == CLOSED
        assert daemon.words(scoreboard.STATE) == [DRAINING]
        assert daemon.text("listen") == ""
        assert begun == timeouts
        assert daemon.lines.events("drain") == ["drain clients=1"], "who waited in the backlog"
        assert is_served(client)
        daemon.signal(signal.SIGTERM)
        assert begun == [*timeouts, 0.0], "a second one: at once"
        assert len(daemon.lines.events("drain")) == 1
        client.close()

    isolated(check)


def test_a_drain_timeout_that_was_reloaded_is_that_of_the_stop(path):
    def check():
        daemon = Daemon(path)
        daemon.path.write_text("[echod]\nlisten = 127.0.0.1:0\ndrain_timeout = never\n")
        begun: list[float | None] = []
        daemon.server.drain = SimpleNamespace(begin=begun.append, tick=lambda _now: None, due=math.inf)  # type: ignore[assignment]
        daemon.signal(signal.SIGHUP)
        daemon.signal(signal.SIGTERM)
        assert begun == [None]

    isolated(check)


def test_the_log_is_opened_again_and_the_answer_says_whether_it_could(path, tmp_path):
    def check():
        directory = tmp_path / "logs"
        directory.mkdir()
        daemon = Daemon(path)
        daemon.write(f"log = {directory}/log")
        daemon.signal(signal.SIGHUP)
        (directory / "log").rename(directory / "log.1")
        daemon.signal(signal.SIGUSR1)
        answer = (scoreboard.REOPENS_BEGUN, scoreboard.REOPENS_DONE, scoreboard.REOPEN_CODE)
        assert daemon.words(*answer) == [1, 1, DONE]
        assert (directory / "log").exists()
        directory.rename(tmp_path / "gone")
        daemon.signal(signal.SIGUSR1)
        assert daemon.words(*answer) == [2, 2, FAILED]
        assert daemon.text("reopen").startswith("cannot open the log: ")
        assert ": error call=reopen why=" in (tmp_path / "gone" / "log").read_text(), "the old file is in use, still"

    isolated(check)


def test_it_waits_for_the_earliest_of_its_deadlines(path):
    def check():
        daemon = Daemon(path)
        server = daemon.server
        now = time.monotonic()
        server.acceptor.resume_at = now + 100
        assert 0 < (server.timeout() or 0) <= 100_000
        server.drain.due = now + 50
        assert 0 < (server.timeout() or 0) <= 50_000
        server.log.limits.due = now - 1
        assert server.timeout() == 0.0
        server.log.limits.due = server.drain.due = math.inf
        server.acceptor.resume_at = now + 1e9
        assert (server.timeout() or 0) < 2**31, "poll(2) takes no more"

    isolated(check)


def test_who_may_have_exited_waits_for_a_pause_between_clients(path):
    def check():
        daemon = Daemon(path)
        server, poll = daemon.server, daemon.server.poller.poll
        timeouts: list[float | None] = []

        def polled(timeout):
            timeouts.append(timeout)
            if timeout is None:
                os.kill(os.getpid(), signal.SIGINT)
            return poll(timeout)

        server.poller = SimpleNamespace(poll=polled)  # type: ignore[assignment]
        server.children.watched = False
        server.run()
        assert timeouts == [QUIET_MS, None]

    isolated(check)


def test_signals_come_before_clients(path):
    def check():
        daemon = Daemon(path)
        server, poll, accept = daemon.server, daemon.server.poller.poll, Acceptor.accept
        client = daemon.connect()
        open_then: list[bool] = []

        def interrupted(timeout):
            ready = poll(timeout)
            os.kill(os.getpid(), signal.SIGINT)
            return ready

        def accepted(acceptor, listener):
            open_then.append(acceptor.all() != [])
            return accept(acceptor, listener)

        server.poller = SimpleNamespace(poll=interrupted)  # type: ignore[assignment]
        Acceptor.accept = accepted  # type: ignore[method-assign]
        server.run()
        assert open_then, "who waits is served, by the stop"
        assert not any(open_then)
        client.close()

    isolated(check)


def test_a_full_daemon_refuses_at_every_listener_in_each_turn(path):
    def check():
        daemon = Daemon(path, "max_children = 1", "over_limit = refuse")
        server, poll, accept = daemon.server, daemon.server.poller.poll, Acceptor.accept
        second = bind_all([("127.0.0.1", 0)], server.config)
        server.acceptor.configure(server.config, [*server.acceptor.all(), *second])
        served = daemon.connect()
        daemon.accept()
        assert server.acceptor.state == FULL
        clients = [daemon.connect() for _ in range(3)]
        clients.append(socket.create_connection(second[0].sock.getsockname(), timeout=DEADLINE))
        wait_for(lambda: len(poll(0)) == 2, "clients at both")
        turns: list[list[int]] = []

        def polled(timeout):
            turns.append([])
            if len(turns) > 1:
                os.kill(os.getpid(), signal.SIGINT)
                return []
            return poll(timeout)

        def accepted(acceptor, listener):
            turns[-1].append(listener.fd)
            return accept(acceptor, listener)

        server.poller = SimpleNamespace(poll=polled)  # type: ignore[assignment]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Acceptor, "accept", accepted)
            server.run()
        assert len(set(turns[0])) == 2
        for client in (served, *clients):
            client.close()

    isolated(check)


@pytest.mark.parametrize("level", ["info", "debug"])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_the_loop_serves_until_it_is_told_to_stop_and_the_last_child_is_reaped(path, level, signum):
    read_end, write_end = os.pipe()

    def run():
        daemon = Daemon(path, f"log_level = {level}")
        os.write(write_end, str(daemon.address[1]).encode())
        daemon.server.run()
        assert daemon.words(scoreboard.ACCEPTED, scoreboard.CLOSED) == [4, 4]
        assert len(daemon.lines.events("close")) == 4
        assert daemon.lines.events("ready") == [f"ready listen=127.0.0.1:{daemon.address[1]} max_children=256"]

    pid = fork(run)
    address = ("127.0.0.1", int(os.read(read_end, 10)))
    for _ in range(3):
        assert exchange(address, b"echo" * 1000) == b"echo" * 1000
    with socket.create_connection(address, timeout=DEADLINE) as client:
        assert is_served(client)
        wait_for(lambda: state(pid) == "S", "the loop to sleep")
        os.kill(pid, signum)
        assert client.recv(1) == b""
    assert reap(pid) == 0
    os.close(read_end)
    os.close(write_end)


def test_as_the_parent_of_orphans_it_reaps_them_without_a_client(path):
    def check():
        daemon = Daemon(path)
        orphan = os.fork()
        if orphan == 0:
            os._exit(0)
        wait_for(lambda: signal.SIGCHLD in daemon.server.signals.pending, "SIGCHLD")
        daemon.server.process_signals()
        with pytest.raises(ChildProcessError):
            os.waitpid(orphan, os.WNOHANG)

    isolated(check)
