from __future__ import annotations

import os
from pathlib import Path

from echod.cli.check import files
from echod.log import sinks
from support.wait import need_root


def test_nothing_where_all_is_well(subject):
    assert list(files.warnings(subject("log=syslog"))) == []


def test_a_log_that_the_user_may_not_make_gets_a_directory_of_its_own(subject, public, monkeypatch):
    need_root()
    closed = public / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(sinks, "is_there", lambda _path: False)
    (found,) = files.warnings(subject(f"log={closed}/x.log"))
    assert found == (
        f"log: {closed}/x.log: Permission denied for user nobody; `install -d -o nobody /var/log/echod` makes a "
        "directory for it, then set log = /var/log/echod/x.log"
    )
    monkeypatch.setattr(sinks, "is_there", lambda _path: True)
    (found,) = files.warnings(subject(f"log={closed}/x.log"))
    assert "`install -d -o nobody /var/log/echod-nobody`" in found, "an existing directory keeps its owner"
    (found,) = files.warnings(subject(f"log={public}/none/x.log"))
    assert found.endswith(f"; `install -d -o nobody {public}/none` makes the directory")


def test_a_config_that_the_user_may_not_read(subject, public):
    need_root()
    found = subject()
    (public / "echod.conf").chmod(0o600)
    assert ", ".join(files.warnings(found)) == (
        f"{public}/echod.conf: Permission denied for user nobody, so a reload would fail; keep the config where user "
        "nobody can read it, such as /etc/echod.conf with mode 644"
    )


def test_another_users_daemon_is_not_judged_as_oneself(subject, public):
    found = subject(f"log={public}/none/x.log")
    found.uid = os.geteuid() + 1
    if os.geteuid() != 0:
        assert list(files.warnings(found)) == []


def test_where_a_file_system_is_mounted():
    point, kind = files.mounted(Path("/proc"))
    assert (point, kind) == ("/proc", "proc")


def test_room_for_the_scoreboard(subject, monkeypatch, tmp_path):
    real = os.statvfs(tmp_path)

    class Full:
        f_bavail, f_frsize, f_blocks = 10, 4096, 1000

    assert list(files.board_space(subject())) == []
    monkeypatch.setattr(os, "statvfs", lambda _path: Full)
    monkeypatch.setattr(files, "mounted", lambda _path: ("/run", "tmpfs"))
    (found,) = files.board_space(subject())
    assert "has room for 40960 bytes, and the scoreboard needs 53248 for max_children = 256; " in found
    assert found.endswith("`mount -o remount,size=4012k /run`")
    monkeypatch.setattr(files, "mounted", lambda _path: ("/", "ext4"))
    (found,) = files.board_space(subject())
    assert found.endswith("`du -xah / | sort -h | tail`")
    Full.f_blocks = 0  # no limit
    assert list(files.board_space(subject())) == []
    assert real.f_frsize
