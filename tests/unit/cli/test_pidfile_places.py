from __future__ import annotations

import errno
import os

import pytest
from lockfile import LockFailed

from echod.cli.pidfile import PidFile, default_path
from echod.common.errors import ConfigError
from support.processes import NOBODY, isolated
from support.wait import need_root


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "echod.pid"


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory", "device"])
def test_what_is_no_regular_file_is_refused(path, kind):
    path.parent.mkdir()
    target = path.parent / "target"
    target.write_text("precious")
    if kind == "symlink":
        path.symlink_to(target)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path = "/dev/null"
    before = os.listdir("/proc/self/fd")
    with pytest.raises(LockFailed, match=rf"^{path}: "), PidFile(str(path)).start():
        pass
    with pytest.raises(LockFailed, match=rf"^{path}: "):
        PidFile(str(path)).acquire()
    assert target.read_text() == "precious"
    assert os.listdir("/proc/self/fd") == before


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LockFailed, match=r"Not a directory|File exists"), PidFile(f"{tmp_path}/file/x/e.pid").start():
        pass


def test_other_users_can_neither_lock_nor_start(path, tmp_path):
    need_root()
    path.parent.mkdir()
    path.write_text("")
    tmp_path.chmod(0o755)

    def check():
        os.chdir(tmp_path)  # the way to it may be closed
        os.setresuid(NOBODY, NOBODY, NOBODY)
        for attempt in (PidFile("run/echod.pid").acquire, PidFile("run/echod.pid").start().__enter__):
            with pytest.raises(LockFailed, match="Permission denied") as caught:
                attempt()
            assert isinstance(caught.value.__cause__, PermissionError)
        with pytest.raises(PermissionError):
            PidFile("run/echod.pid").break_lock()
        assert PidFile("run/echod.pid").holder() == 0

    isolated(check)
    assert path.exists()


def test_the_default_place_is_the_users_own(monkeypatch, tmp_path):
    def check():
        assert default_path() == "/run/echod/echod.pid" or os.geteuid()
        if os.geteuid() == 0:
            os.chown(tmp_path, NOBODY, NOBODY)
            os.chdir(tmp_path)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        assert default_path() == str(tmp_path / "echod" / "echod.pid")
        del os.environ["XDG_RUNTIME_DIR"]
        monkeypatch.setattr("tempfile.tempdir", ".")
        directory = f"./echod-{os.geteuid()}"
        assert default_path() == f"{directory}/echod.pid"
        os.mkdir(directory, 0o700)
        assert default_path() == f"{directory}/echod.pid"
        os.chmod(directory, 0o755)
        with pytest.raises(ConfigError, match="belongs to someone else or is open to others"):
            default_path()
        os.rmdir(directory)
        os.symlink(".", directory)
        with pytest.raises(ConfigError):
            default_path()

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    isolated(check)


def test_errors_keep_their_cause(path):
    path.parent.mkdir()
    path.mkdir()
    with pytest.raises(LockFailed) as caught:
        PidFile(str(path)).acquire()
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EISDIR
