from __future__ import annotations

import os
import pwd
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.cli import launch
from echod.cli.daemon import PACKAGE
from echod.common import scoreboard
from echod.common.errors import BAD_CONFIG, FAILED, EchodError
from echod.common.launch import Launch
from echod.common.scoreboard import Scoreboard
from support.daemon import Echod
from support.processes import NOBODY, fork, isolated
from support.sockets import settings
from support.wait import need_root, wait_for


def test_what_the_server_replied_is_the_error():
    error = launch.failure("4711\n6 x.conf:3: is bad", "")
    assert (str(error), error.code) == ("x.conf:3: is bad", BAD_CONFIG)


@pytest.mark.parametrize(
    ("stderr", "status", "said"),
    [
        ("", 3, "it ended with exit status 3"),
        ("ld.so: error: no libx.so\n\n", 127, "ld.so: error: no libx.so; it ended with exit status 127"),
        ("Fatal Python error: init\nCurrent thread\n", 1, "Fatal Python error: init; it ended with exit status 1"),
    ],
)
def test_else_its_last_words_and_its_end_are(stderr, status, said):
    error = launch.failure(f"{fork(lambda: status)}\n", stderr)
    assert (str(error), error.code) == (f"the server did not start; {said}", FAILED)


def test_a_process_that_is_not_ours_to_wait_for():
    assert str(launch.failure("1\n", "gone")) == "the server did not start; gone"
    assert str(launch.failure("", "")) == "the server did not start"


def test_a_scoreboard_is_new_and_says_whose_it_is(tmp_path):
    path = tmp_path / "board"
    path.write_text("old")
    old = os.open(path, os.O_RDONLY)
    fd = launch.make_scoreboard(str(path), settings())
    assert not os.path.samestat(os.fstat(old), os.fstat(fd))
    words = Scoreboard(fd).words
    assert (words[scoreboard.PID], words[scoreboard.STATE]) == (os.getpid(), scoreboard.STARTING)
    assert path.stat().st_mode & 0o777 == 0o644
    os.close(fd)
    os.close(old)


def test_a_scoreboard_that_cannot_be_made_is_one_line_with_its_path(tmp_path):
    with pytest.raises(EchodError, match=f"^{tmp_path}/missing/board: No such file"):
        launch.make_scoreboard(f"{tmp_path}/missing/board", settings())


@pytest.mark.parametrize(("what", "mode", "may"), [("x.py", 0o644, True), ("x.py", 0o600, False), (".", 0o700, False)])
def test_the_image_is_the_users_only_if_it_can_read_all_of_it(public, monkeypatch, what, mode, may):
    need_root()
    package = public / "package"
    package.mkdir()
    (package / "x.py").touch()
    os.chown(public, 0, 0)
    (package / what).chmod(mode)
    monkeypatch.setattr(launch, "PACKAGE", str(package))
    assert launch.may_execute(Launch(uid=NOBODY, gid=NOBODY)) == may


def test_root_s_rights_are_dropped_before_the_image_is_executed(running):
    need_root()
    assert os.stat(f"/proc/{running.pid}/oom_score_adj").st_uid == pwd.getpwnam("nobody").pw_uid


def test_an_image_that_the_user_may_not_execute_drops_them_itself(public):
    need_root()
    copy = public / "copy"
    shutil.copytree(Path(PACKAGE), copy / "echod")
    (copy / "echod" / "session" / "pipes.py").chmod(0o600)  # the server does not import it
    daemon = Echod(public, prefix=("env", f"PYTHONPATH={copy}"))
    daemon.command = lambda *words: [*daemon.prefix, sys.executable, "-m", "echod", "-c", str(daemon.config), *words]  # type: ignore[method-assign]
    try:
        daemon.run("start", check=0)
        path = f"/proc/{daemon.pid}/oom_score_adj"
        assert os.stat(path).st_uid == 0, "it was the user's image"
        own = int(Path(path).read_text())
        with daemon.connect() as conn:
            conn.sendall(b"x")
            assert conn.recv(1) == b"x"
            (child,) = daemon.children()
            assert int(Path(f"/proc/{child.pid}/oom_score_adj").read_text()) == min(1000, own + 500)
            wait_for(lambda: int(Path(path).read_text()) == own, "the daemon's own score, after the fork")
    finally:
        daemon.cleanup()


@given(st.permutations(range(8)))
def test_descriptors_are_moved_to_their_numbers_in_any_order(order):
    def check():
        os.closerange(3, 64)
        made = [os.memfd_create(f"{index}") for index in range(8)]  # 3 to 10
        launch.move([made[index] for index in order])
        assert [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3, 11)] == [f"/memfd:{i} (deleted)" for i in order]
        assert set(os.listdir("/proc/self/fd")) <= set(map(str, range(12)))

    isolated(check)
