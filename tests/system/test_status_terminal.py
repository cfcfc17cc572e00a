"""`echod status` on a terminal, as wide and as long as it is; `--watch` until Ctrl-C."""

from __future__ import annotations

import os
import signal

import pytest

from support.processes import close_all, connect_many
from support.terminal import Terminal
from support.wait import wait_for


@pytest.fixture
def terminal(echod):
    """Return a function that runs `echod status` with options on a terminal."""
    made = []

    def terminal(*words, columns=80, lines=24, term="xterm-256color"):
        made.append(Terminal(echod.command("status", *words), columns, lines, term))
        return made[-1]

    yield terminal
    for one in made:
        one.close()


@pytest.fixture
def clients(echod):
    """Return 30 clients of a daemon that are there."""
    echod.start(max_children=30)
    conns = connect_many(echod, 30)
    wait_for(lambda: echod.status()["clients"] == 30, "30 clients")
    yield conns
    close_all(conns)


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 24), (40, 30), (200, 80)])
@pytest.mark.usefixtures("clients")
def test_it_fits(terminal, columns, lines):
    shown = terminal(columns=columns, lines=lines)
    assert shown.end() == 0
    text = [line.rstrip() for line in shown.output.decode().split("\r\n")]
    assert all(len(line) <= columns for line in text)
    assert len(text) <= lines
    assert text[0].startswith("state     running")
    if lines < 40:
        left_out = int(text[-2].removeprefix("and ").removesuffix(" more"))
        assert len([line for line in text if "127.0.0.1:" in line]) - 1 == 30 - left_out
        assert len(text) == lines, "and its last line is the prompt's"


@pytest.mark.usefixtures("clients")
def test_all_of_them(terminal):
    shown = terminal("--all")
    assert shown.end() == 0
    assert shown.output.count(b"127.0.0.1:") == 31


@pytest.mark.usefixtures("clients")
def test_without_a_terminal_all_are_listed(echod):
    assert echod.run("status", check=0).stdout.count("127.0.0.1:") == 31


@pytest.mark.parametrize("columns", [80, 200])
def test_watch_shows_what_moves_until_ctrl_c(clients, terminal, columns):
    shown = terminal("--watch", "-n", "0.1", columns=columns)
    shown.wait_for("RATE")

    def busy():
        clients[7].sendall(b"x" * 3000)
        clients[7].recv(3000, 0)
        lines = shown.look()
        head = next((number for number, line in enumerate(lines) if "RATE" in line), None)
        return head and f":{clients[7].getsockname()[1]} " in lines[head + 1] and "KiB/s" in lines[head + 1] and lines

    lines = wait_for(busy, "the one that moves to be first")
    assert lines[-1].startswith("and ")
    assert any("/s)" in line for line in lines if line.startswith("bytes"))
    shown.type(b"\x03")
    assert shown.end() == 0
    assert shown.is_as_it_was()


@pytest.mark.usefixtures("clients")
def test_watch_follows_the_terminals_size(terminal):
    shown = terminal("--watch", "-n", "60")
    wait_for(lambda: shown.look()[-1].startswith("and "), "24 lines")
    shown.resize(120, 30)
    wait_for(lambda: shown.look()[-1].startswith("and "), "30 lines")
    shown.type(b"q")
    assert shown.end() == 0


@pytest.mark.usefixtures("clients")
def test_watch_goes_on_when_the_daemon_stops_and_another_starts(terminal, echod):
    shown = terminal("--watch", "-n", "0.1")
    shown.wait_for(f"pid {echod.pid}")
    echod.run("stop", check=0)
    shown.wait_for("echod: not running")
    echod.run("start", check=0)
    shown.wait_for(f"pid {echod.pid}")
    shown.process.send_signal(signal.SIGTERM)
    assert shown.end() == 128 + signal.SIGTERM
    assert shown.is_as_it_was()


@pytest.mark.parametrize("name", ["LANG", "LC_ALL"])
def test_watch_without_the_locale_that_lang_names(echod, terminal, monkeypatch, name):
    """As in an ssh session, which passes on the LANG of another machine."""
    monkeypatch.setenv(name, "xx_YY.UTF-8")
    echod.start()
    shown = terminal("--watch")
    shown.wait_for(f"pid {echod.pid}")
    shown.process.send_signal(signal.SIGTERM)
    assert shown.end() == 128 + signal.SIGTERM


@pytest.mark.parametrize("term", ["no-such-terminal", "dumb"])
def test_watch_on_a_terminal_that_it_cannot_use(terminal, term):
    shown = terminal("--watch", term=term)
    assert shown.end() == 2
    assert "echod: status: --watch: this terminal cannot be used" in "\n".join(shown.look())


def test_watch_needs_a_terminal(running):
    assert running.run("status", "--watch", check=2).stderr == "echod: status: --watch needs a terminal\n"


def test_what_the_terminal_cannot_show_is_escaped(echod):
    path = echod.home / "ü.pid"
    path.write_text("4711\n")
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    assert r"\xfc.pid" in echod.run("status", "-o", f"pid_file={path}", check=1, env=env).stdout


def test_watch_with_a_locale_that_this_machine_does_not_have(terminal, monkeypatch):
    monkeypatch.setenv("LC_ALL", "xx_XX.UTF-8")
    shown = terminal("--watch")
    shown.wait_for("echod: not running")
    shown.type(b"q")
    assert shown.end() == 0
