from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echod.cli import launch
from echod.common import scoreboard
from echod.common.errors import BAD_CONFIG, FAILED, EchodError
from echod.common.scoreboard import Scoreboard
from support.processes import fork, isolated
from support.sockets import settings


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


@given(st.permutations(range(8)))
def test_descriptors_are_moved_to_their_numbers_in_any_order(order):
    def check():
        os.closerange(3, 64)
        made = [os.memfd_create(f"{index}") for index in range(8)]  # 3 to 10
        launch.move([made[index] for index in order])
        assert [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3, 11)] == [f"/memfd:{i} (deleted)" for i in order]
        assert set(os.listdir("/proc/self/fd")) <= set(map(str, range(12)))

    isolated(check)
