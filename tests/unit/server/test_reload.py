from __future__ import annotations

import gc
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.common import scoreboard
from echod.common.config.settings import SETTINGS, load
from echod.common.errors import BAD_CONFIG, FAILED, NOT_PERMITTED, EchodError
from echod.common.launch import Launch
from echod.common.sockets import Listener, bind_all
from echod.log.log import INFO
from echod.log.sinks import File, open_log
from echod.server import reading, reload
from support.processes import NOBODY, isolated
from support.sockets import make_board, memory_log, port_of_its_own, settings
from support.wait import need_root, wait_for


class Before:
    """What is in force before a reload; `prepare` reads the config, which `write` writes."""

    def __init__(self, tmp_path):
        self.path = tmp_path / "echod.conf"
        self.launch = Launch(config_file=str(self.path), base="/")
        self.write("listen = 127.0.0.1:0")
        self.config = load(str(self.path), [], "/")
        self.listeners = bind_all(list(self.config.listen), self.config)
        self.log, self.lines = memory_log()
        self.board = make_board()
        self.board.words[scoreboard.MAX_CHILDREN] = self.config.max_children

    def write(self, *lines):
        self.path.write_text("\n".join(["[echod]", *lines, ""]))

    def prepare(self):
        return reload.prepare(self.read(), self.launch, self.config, self.listeners, self.log.sink, self.board)

    def read(self):
        """Return what the child would have written last."""
        written: list[reading.Reading] = []
        reading.look(self.launch, self.config, written.append)
        return reading.Reading.from_items(written[-1].to_items())

    def close(self):
        for listener in self.listeners:
            listener.close()
        self.board.words.release()
        os.close(self.board.fd)

    def is_shared(self):
        return [listener.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) for listener in self.listeners]


@pytest.fixture
def before(tmp_path):
    before = Before(tmp_path)
    yield before
    before.close()


def open_descriptors():
    gc.collect()  # of what other tests have opened
    return os.listdir("/proc/self/fd")


def test_without_a_change_all_stays_as_it_is(before):
    fds = open_descriptors()
    change = before.prepare()
    assert change.text == []
    assert change.listeners == before.listeners
    assert change.sink is before.log.sink
    assert vars(change.config) == vars(before.config)
    assert open_descriptors() == fds


def test_a_line_for_each_setting_that_differs_says_when_it_takes_effect(before):
    before.write("listen = 127.0.0.1:0", "backlog = 7", "idle_timeout = 5s", "umask = 077", "allow = 10.0.0.0/8")
    change = before.prepare()
    assert change.text == [
        "backlog: 4096 -> 7",
        "allow: empty -> 10.0.0.0/8",
        "idle_timeout: 10min -> 5s (new clients)",
        "umask: 022 -> 077 (needs a restart)",
    ]
    assert (change.config.backlog, change.config.idle_timeout) == (7, 5.0)
    assert change.config.umask == before.config.umask, "what needs a restart stays as it is"


def test_nothing_is_in_force_before_it_is_applied(before):
    port = port_of_its_own()
    before.write(f"listen = 127.0.0.1:{port}", "log_level = debug", "max_children = 3")
    held = vars(before.config).copy()
    change = before.prepare()
    assert vars(before.config) == held
    assert before.log.level == INFO
    assert before.board.words[scoreboard.MAX_CHILDREN] == 256
    assert change.listeners[0] is not before.listeners[0]
    before.listeners[0].sock.getsockname()  # open, still
    change.listeners[0].close()


def test_listeners_that_stay_are_kept_and_the_new_ones_are_not_shared(before):
    port = port_of_its_own()
    before.write(f"listen = 127.0.0.1:0 127.0.0.1:{port}")
    change = before.prepare()
    kept, added = change.listeners
    assert kept is before.listeners[0]
    assert added.sock.getsockname()[1] == port
    assert [one.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) for one in change.listeners] == [0, 0]
    added.close()


def test_a_new_address_may_overlap_an_old_one(before):
    def prepared():
        before.listeners[0].close()
        before.listeners = bind_all([("127.0.0.1", 0)], before.config)
        before.write(f"listen = *:{before.listeners[0].sock.getsockname()[1]}")
        try:
            return before.prepare()
        except EchodError:
            return None  # somebody else has the port at another address

    change = wait_for(prepared, "a port that is free at all addresses")
    (old,) = before.listeners
    assert old not in change.listeners
    for listener in change.listeners:
        assert listener.sock.getsockname()[1] == old.sock.getsockname()[1]
        listener.close()
    assert before.is_shared() == [0]


def test_sockets_that_were_passed_stay_whatever_listen_says(before):
    before.listeners[0].address = None
    before.write("listen = 127.0.0.1:1")
    change = before.prepare()
    assert change.listeners is before.listeners
    assert change.text == ["listen: 127.0.0.1:0 -> 127.0.0.1:1 (needs a restart)"]


def test_a_new_log_is_opened_beside_the_old_one(before, tmp_path):
    before.write("listen = 127.0.0.1:0", f"log = {tmp_path}/log")
    change = before.prepare()
    assert isinstance(change.sink, File)
    assert change.sink is not before.log.sink
    change.sink.close()


def test_room_for_more_clients_is_taken(before):
    before.write("listen = 127.0.0.1:0", "max_children = 20000")
    before.prepare()
    assert os.fstat(before.board.fd).st_blocks * 512 >= 20_000 * scoreboard.SLOT


def failed(before):
    """Return the error of a reload, after which all is as before."""
    fds = open_descriptors()
    with pytest.raises(EchodError) as caught:
        before.prepare()
    text, code = str(caught.value), caught.value.code
    del caught
    assert open_descriptors() == fds
    assert before.is_shared() == [0] * len(before.listeners)
    return text, code


def test_a_bad_config_is_told_with_its_line(before):
    before.write("backlog = many")
    text, code = failed(before)
    assert text.startswith(f"{before.path}:2: backlog: 'many'")
    assert code == BAD_CONFIG


def test_an_address_in_use_leaves_all_as_it_was(before, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        used = other.getsockname()[1]
        before.write(f"listen = 127.0.0.1:0 127.0.0.1:{port_of_its_own()} 127.0.0.1:{used}", f"log = {tmp_path}/log")
        text, code = failed(before)
    assert text.startswith(f"cannot listen on 127.0.0.1:{used}: Address already in use")
    assert code == FAILED


def test_a_log_that_the_daemons_user_may_not_open_names_the_directory_it_must_own(tmp_path):
    need_root()

    def check():
        before = Before(tmp_path)
        before.write("listen = 127.0.0.1:0", "log = /root/echod.log")
        os.chmod(tmp_path, 0o755)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        with pytest.raises(
            EchodError,
            match=r"^cannot open the log: .*Permission denied for user 65534; `install -d -o 65534 /var/log/echod",
        ) as caught:
            open_log("/root/echod.log", "daemon")
        assert caught.value.code == NOT_PERMITTED

    isolated(check)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()], ids=["ENOSPC", "ENOMEM"])
@pytest.mark.parametrize("step", ["load", "open_log", "reserve", "bind"])
def test_a_reload_that_fails_at_any_step_closes_all_it_had_opened(before, tmp_path, monkeypatch, step, error):
    def fail(*_args, **_kwargs):
        raise error

    before.write("listen = 127.0.0.1:0 127.0.0.2:0", f"log = {tmp_path}/log", "max_children = 1000")
    if step == "reserve":
        monkeypatch.setattr(type(before.board), "reserve", fail)
    elif step == "load":
        monkeypatch.setattr("echod.server.reading.settings.load", fail)
    else:
        monkeypatch.setattr(reload, step, fail)
    text, code = failed(before)
    assert code == FAILED
    assert ("No space left on device" in text) == isinstance(error, OSError)
    monkeypatch.undo()
    change = before.prepare()  # and the next one works
    assert len(change.listeners) == 2
    change.listeners[1].close()
    change.sink.close()


@pytest.mark.parametrize(("number", "on"), [(0, True), (1, True), (0, False), (1, False)])
def test_a_sharing_that_fails_leaves_no_other_shared(before, monkeypatch, number, on):
    before.write("listen = 127.0.0.1:0 127.0.0.2:0")
    change = before.prepare()
    before.config, before.listeners = change.config, change.listeners
    share = Listener.share

    def failing(listener, wanted):
        if listener is before.listeners[number] and wanted == on:
            raise OSError(105, "No buffer space available")
        share(listener, wanted)

    before.write("listen = 127.0.0.1:0 127.0.0.2:0 127.0.0.3:0")
    monkeypatch.setattr(Listener, "share", failing)
    fds = open_descriptors()
    with pytest.raises(EchodError, match=r"^reload: No buffer space available$") as caught:
        before.prepare()
    assert caught.value.code == FAILED
    del caught
    assert open_descriptors() == fds
    assert before.is_shared() == [int(not on and listener == number) for listener in (0, 1)]
    monkeypatch.undo()
    change = before.prepare()
    before.listeners = change.listeners
    assert before.is_shared() == [0, 0, 0]


def test_every_setting_has_an_effect_that_a_reload_can_name():
    for name in SETTINGS:
        assert reload.when(name, {name}) == " (needs a restart)"
        assert reload.when(name, set()) in ("", " (new clients)")


def test_a_change_is_a_value():
    _, sink = memory_log()
    change = reload.Change(settings(), [], sink, ["a -> b"])
    assert (change.listeners, change.sink, change.text) == ([], sink, ["a -> b"])


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.builds(reading.Reading, code=st.integers(0, 7), why=TEXTS, settings=st.lists(TEXTS).map(tuple)))
def test_what_the_child_writes_is_what_the_daemon_reads(written):
    assert vars(reading.Reading.from_items(written.to_items())) == {
        name: value for name, value in vars(written).items() if value not in ((), "", 0)
    }


@pytest.mark.parametrize(
    "place", [(int(socket.AF_INET), ("127.0.0.1", 7)), (int(socket.AF_INET6), ("fe80::1%eth0", 65535, 0, 2))]
)
def test_a_place_is_written_and_read(place):
    assert reading.read_place(reading.write_place(place)) == place


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("user = no-such-user", "there is no user 'no-such-user'"),
        ("group = no-such-group", "there is no group 'no-such-group'"),
        ("directory = /nonexistent", "/nonexistent: No such file"),
        ("directory = /dev/null", "Not a directory"),
        ("log = stderr", "is for `echod run`"),
    ],
)
def test_what_the_next_start_would_refuse_is_refused_with_its_line(before, line, why):
    before.write("listen = 127.0.0.1:0", line)
    text, code = failed(before)
    assert text.startswith(f"{before.path}:3: {line.partition(' ')[0]}: ")
    assert why in text
    assert code == BAD_CONFIG


def test_a_value_that_is_in_effect_is_not_refused(before):
    before.write("listen = 127.0.0.1:0", "directory = /nonexistent")
    before.config = load(str(before.path), [], "/")
    assert before.prepare().text == []


def test_a_name_that_has_moved_is_listened_to_where_it_is(before, monkeypatch):
    def at(*hosts):
        monkeypatch.setattr(reading, "look_up", lambda _address: [(socket.AF_INET, (host, 0)) for host in hosts])
        change = before.prepare()
        for gone in set(before.listeners) - set(change.listeners):
            gone.close()
        added = set(change.listeners) - set(before.listeners)
        before.config, before.listeners = change.config, change.listeners
        return sorted(one.place[1][0] for one in change.listeners), len(added)

    before.write("listen = echo.example:0")
    assert at("127.0.0.2") == (["127.0.0.2"], 1)
    assert at("127.0.0.2", "127.0.0.3") == (["127.0.0.2", "127.0.0.3"], 1)
    assert at("127.0.0.3") == (["127.0.0.3"], 0)


def test_addresses_that_overlap_are_refused_though_they_could_be_shared(before, monkeypatch):
    port = port_of_its_own()
    monkeypatch.setattr(reading, "look_up", lambda _address: [(socket.AF_INET, ("127.0.0.1", port))])
    before.write(f"listen = echo.example:{port} 127.0.0.1:{port}")
    assert "overlaps with another address" in failed(before)[0]
