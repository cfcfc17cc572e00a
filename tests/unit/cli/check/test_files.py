from __future__ import annotations

import os
from pathlib import Path

from echod.cli.check import files


def test_nothing_where_all_is_well(plan):
    assert list(files.warnings(plan("log=syslog"))) == []


def test_the_first_directory_that_the_user_cannot_search(plan, public):
    found = plan()
    found.uid = found.gid = 12345
    closed = public / "a"
    (closed / "b").mkdir(parents=True)
    log = closed / "b" / "log"
    assert files.closed(log, found) == ""
    closed.chmod(0o766)
    assert files.closed(log, found) == f"chmod o+x {closed}"
    (closed / "b").chmod(0o600)
    assert files.closed(log, found) == f"chmod o+x {closed}"
    found.gid = os.stat(closed).st_gid
    closed.chmod(0o710)
    assert files.closed(log, found) == f"chmod o+x {closed}/b"
    found.uid = 0
    assert files.closed(log, found) == ""


def test_where_a_file_system_is_mounted():
    point, kind = files.mounted(Path("/proc"))
    assert (point, kind) == ("/proc", "proc")


def test_room_for_the_scoreboard(plan, monkeypatch, tmp_path):
    real = os.statvfs(tmp_path)

    class Full:
        f_bavail, f_frsize, f_blocks = 10, 4096, 1000

    assert list(files.board_space(plan())) == []
    monkeypatch.setattr(os, "statvfs", lambda _path: Full)
    monkeypatch.setattr(files, "mounted", lambda _path: ("/run", "tmpfs"))
    (found,) = files.board_space(plan())
    assert "has room for 40960 bytes, and the scoreboard needs 53248 for max_children = 256; " in found
    assert found.endswith("`mount -o remount,size=4012k /run`")
    monkeypatch.setattr(files, "mounted", lambda _path: ("/", "ext4"))
    (found,) = files.board_space(plan())
    assert found.endswith("`du -xah / | sort -h | tail`")
    Full.f_blocks = 0  # no limit
    assert list(files.board_space(plan())) == []
    assert real.f_frsize
