from __future__ import annotations

import contextlib
import os
import re
import resource
import time

import pytest

from echod.log.log import INFO, Log
from echod.log.sinks import File
from support.processes import CLONE_NEWNS, NOBODY, isolated, mount, namespaces
from support.sockets import settings
from support.wait import need_root

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4}"


def test_a_file_gets_one_line_an_event_with_time_and_pid(tmp_path):
    sink = File(str(tmp_path / "log"))
    assert sink.write(INFO, "close peer=ü")
    assert re.fullmatch(rf"{STAMP} echod\[{os.getpid()}\]: close peer=ü\n", (tmp_path / "log").read_text())
    sink.close()


def test_a_line_has_the_local_time_of_now(tmp_path):
    sink = File(str(tmp_path / "log"))
    before = time.time()
    sink.write(INFO, "x")
    stamp = (tmp_path / "log").read_text().split()[0]
    assert (
        before - 0.001
        <= time.mktime(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")) + float(stamp[19:23])
        <= time.time()
    )
    sink.close()


def test_a_file_is_appended_to_and_private(tmp_path):
    path = tmp_path / "log"
    path.write_text("old\n")
    path.unlink()
    two = [File(str(path)), File(str(path))]
    for sink in two * 2:
        assert sink.write(INFO, "x")
    assert path.read_text().count("\n") == 4
    assert path.stat().st_mode & 0o137 == 0
    for sink in two:
        assert not os.get_inheritable(sink.fd)
        sink.close()


def test_a_file_is_opened_again_after_rotation(tmp_path):
    path = tmp_path / "log"
    sink = File(str(path))
    sink.write(INFO, "one")
    path.rename(tmp_path / "log.1")
    sink.write(INFO, "two")
    before = len(os.listdir("/proc/self/fd"))
    sink.reopen()
    assert len(os.listdir("/proc/self/fd")) == before
    sink.write(INFO, "three")
    assert [(tmp_path / name).read_text().count("\n") for name in ("log.1", "log")] == [2, 1]
    sink.close()


def test_a_file_that_cannot_be_opened_again_leaves_the_old_one_in_use(tmp_path):
    directory = tmp_path / "logs"
    directory.mkdir()
    sink = File(str(directory / "log"))
    directory.rename(tmp_path / "old")
    with pytest.raises(FileNotFoundError):
        sink.reopen()
    assert sink.write(INFO, "still here")
    assert "still here" in (tmp_path / "old" / "log").read_text()
    sink.close()


@pytest.mark.parametrize("place", ["none/log", "", "fifo"])
def test_a_file_that_cannot_be_opened_is_an_error(tmp_path, place):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match=r"No such file|Is a directory|No such device"):
        File(str(tmp_path / place))


def test_a_line_that_does_not_fit_whole_is_lost_and_counted(tmp_path):
    def check():
        path = tmp_path / "log"
        log = Log(settings(), File(str(path)))
        log.info("first")
        size = path.stat().st_size
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
        for _ in range(3):
            log.info("lost")
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        log.info("last")
        text = path.read_text()
        assert "log lost=3" in text
        assert re.search(r"^\S+ echod\[\d+\]: last$", text, re.MULTILINE), "the torn line spoils the next one"

    isolated(check)


@pytest.mark.parametrize(("room", "whole"), [(5, 0), (0, 1), (7, 1)])
def test_of_several_lines_those_that_are_whole_are_not_lost(tmp_path, room, whole):
    def check():
        path = tmp_path / "log"
        sink = File(str(path))
        sink.write_all(INFO, ["one", "two"])
        size, before = path.stat().st_size // 2, sum(sink.total)  # of the process, whatever ran in it before
        assert path.read_text().count("\n") == 2
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size * (2 + whole) + room, hard))
        sink.write_all(INFO, ["111", "222", "333"])
        lost = 3 - whole
        assert sink.lost == sum(sink.total) - before == lost
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert sink.write(INFO, "end")
        assert sink.lost == 0
        lines = [line.partition("]: ")[2] for line in path.read_text().splitlines()]
        kept = [line for line in lines if line in {"one", "two", "111", "222", "333", "end"} or "lost" in line]
        assert kept == [*["one", "two", "111", "222", "333"][: 5 - lost], "end", f"log lost={lost}"]

    isolated(check)


def test_a_full_disk_loses_lines_and_nothing_else(tmp_path):
    need_root()

    def check():
        mount(b"tmpfs", tmp_path, b"size=64k")
        log = Log(settings(), File(str(tmp_path / "log")))
        ballast = os.open(tmp_path / "ballast", os.O_WRONLY | os.O_CREAT)
        with contextlib.suppress(OSError):
            while True:
                os.write(ballast, bytes(4096))
        log.info("x" * 5000)
        log.info("x" * 5000)
        os.ftruncate(ballast, 0)
        log.info("room again")
        assert re.search(r": room again\n.*: log lost=2\n", (tmp_path / "log").read_text())

    namespaces(CLONE_NEWNS, check)


def test_the_old_file_that_cannot_be_closed_costs_a_line_and_not_the_daemon(tmp_path):
    sink = File(str(tmp_path / "log"))
    os.close(sink.fd)
    sink.fd = 1 << 30  # close(2) will fail, as that of a network file system may: EBADF here, EIO or EDQUOT there
    sink.reopen()
    assert sink.lost == 1
    assert sink.write(INFO, "on")
    assert sink.lost == 0
    assert "log lost=1" in (tmp_path / "log").read_text()
    sink.close()


def test_a_file_that_cannot_be_closed_is_an_error_for_the_caller(tmp_path):
    sink = File(str(tmp_path / "log"))
    os.close(sink.fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        sink.close()


def test_a_file_that_the_daemons_user_may_not_open_is_an_error(tmp_path):
    need_root()

    def check():
        os.chdir(tmp_path)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        with pytest.raises(PermissionError):
            File("./log")

    tmp_path.chmod(0o755)
    isolated(check)
    assert not (tmp_path / "log").exists()
