"""What root reads for `status --processes` because the holder of the lock names it: nothing, but as that user."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import Any

from echod.cli.status import expected as module
from echod.cli.status.expected import OWN_RIGHTS, Expected, expected, reader
from echod.common.launch import Launch
from support.daemon import children_of, give
from support.wait import need_root

NOBODY = 65534


def process(*uids):
    one: Any = SimpleNamespace(uids=uids, gids=[os.getegid()] if uids == (os.geteuid(),) else uids)
    return one


def test_settings_are_read_with_links_resolved(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    overrides = "log=./log", "directory=.", "umask=27"
    launch = Launch(config_file="/dev/null", base=f"{tmp_path}/link", overrides=overrides)
    real = f"{tmp_path}/real"
    found = expected(process(os.geteuid()), launch, "/nonexistent/pid")
    assert found is not None
    assert vars(found) == vars(Expected(directory=real, umask="0027", log=f"{real}/log", max_children=256))
    assert expected(process(os.geteuid()), launch.replace(overrides=("umask=9",)), "/nonexistent/pid") is None


def test_a_config_that_makes_its_reader_wait_is_unknown(monkeypatch):
    before = children_of(os.getpid())
    monkeypatch.setattr(module, "READ_S", 0.1)
    monkeypatch.setattr(module, "read", lambda _: signal.pause())
    assert expected(process(os.geteuid()), Launch(), "/nonexistent/pid") is None
    assert children_of(os.getpid()) == before


def test_root_reads_as_the_user_whose_process_it_is(public):
    need_root()
    secret, own = public / "secret", public / "own"
    for path in (secret, own):
        path.write_text("[echod]\numask = 077\n")
        path.chmod(0o640)
    give(own)
    found = expected(process(NOBODY), Launch(config_file=str(own)), "/nonexistent/pid")
    assert found is not None
    assert found.umask == "0077"
    assert expected(process(NOBODY), Launch(config_file=str(secret)), "/nonexistent/pid") is None
    assert os.geteuid() == 0


def test_whose_rights_are_unclear_gets_none(public):
    need_root()
    pid_file = str(public / "pid")
    os.chown(public, 0, 0)
    assert reader(process(NOBODY), pid_file) == NOBODY
    assert reader(process(0), pid_file) == 0
    assert reader(process(NOBODY, 0, 0, 0), pid_file) is None, "a setuid program that nobody has executed"
    give(public)
    assert reader(process(NOBODY), pid_file) == NOBODY
    assert reader(process(0), pid_file) is None, "it may be a program like sudo, which nobody has executed"


def test_an_ordinary_user_has_only_rights_of_his_own(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert reader(process(NOBODY), "/x") == OWN_RIGHTS
