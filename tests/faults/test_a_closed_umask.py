"""Root's umask is 077: others may ask for the status all the same."""

from __future__ import annotations

import os

from support.processes import NOBODY
from support.wait import need_root


def test_others_can_ask(echod):
    need_root()
    os.chown(echod.home, 0, 0)
    directory = echod.home / "run"
    echod.write(pid_file=directory / "echod.pid", log="syslog")
    echod.config.chmod(0o644)
    echod.run("start", check=0, umask=0o077)
    try:
        echod.run("status", check=0, user=NOBODY, group=NOBODY, extra_groups=[])
        assert directory.stat().st_mode & 0o777 == 0o755
        assert (directory / "echod.pid").stat().st_mode & 0o777 == 0o644
    finally:
        echod.run("stop", check=0)
