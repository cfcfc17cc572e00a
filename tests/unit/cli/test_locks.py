from __future__ import annotations

import errno
import fcntl
import os

import pytest

from echod.cli import locks
from support.processes import isolated
from support.wait import need_root


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    return path


def test_one_process_locks_and_another_sees_it(file):
    mine = locks.open_plain(str(file), os.O_RDWR)
    assert locks.lock(mine, 1)
    assert locks.writer(mine, 1) == 0, "one's own lock is not another's"

    def check():
        other = locks.open_plain(str(file), os.O_RDWR)
        assert locks.writer(other, 1) == os.getppid()
        assert locks.writer(other, 0) == 0
        assert not locks.lock(other, 1)
        assert locks.lock(other, 0)

    isolated(check)
    os.close(mine)


def test_a_read_lock_is_not_seen_and_keeps_from_locking(file):
    mine = locks.open_plain(str(file), os.O_RDWR)
    fcntl.lockf(mine, fcntl.LOCK_SH, 1, 0)

    def check():
        other = locks.open_plain(str(file), os.O_RDWR)
        assert locks.writer(other, 0) == 0
        assert not locks.lock(other, 0)

    isolated(check)
    os.close(mine)


def test_only_a_plain_file_is_opened(file, tmp_path):
    (tmp_path / "link").symlink_to(file)
    for path, why in ((tmp_path / "link", "symbolic link"), (tmp_path, "directory"), ("/dev/null", "not a regular")):
        with pytest.raises(OSError, match=why):
            locks.open_plain(str(path), os.O_RDWR)
    os.link(file, tmp_path / "second")
    with pytest.raises(OSError, match="hard link") as caught:
        locks.open_plain(str(file), os.O_RDONLY)
    assert caught.value.errno == errno.EINVAL


def test_a_file_that_was_replaced_is_not_current(file):
    fd = locks.open_plain(str(file), os.O_RDONLY)
    assert locks.is_current(fd, str(file))
    file.rename(file.with_name("old"))
    assert not locks.is_current(fd, str(file))
    file.write_text("")
    assert not locks.is_current(fd, str(file))
    os.close(fd)


def test_whoever_can_replace_a_file_controls_it(public):
    need_root()
    path = public / "file"
    assert locks.controllers(str(path)) == {65534}
    os.chown(public, 0, 0)
    assert locks.controllers(str(path)) == set()
    path.write_text("")
    os.chown(path, 5, 5)
    assert locks.controllers(str(path)) == {5}
    public.chmod(0o777)
    assert locks.controllers(str(path)) == {5, locks.ANYBODY}
