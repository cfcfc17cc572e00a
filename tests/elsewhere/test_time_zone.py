"""The machine's time zone changes while a daemon runs: its log follows from the next reload or reopen on."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from support.daemon import Echod, give
from support.processes import MountNamespace
from support.wait import need_root, skip

ZONES = Path("/usr/share/zoneinfo")


@pytest.mark.parametrize("command", ["reload", "reopen"])
def test_the_log_follows(request, command):
    need_root()
    before, after = ZONES / "Etc/GMT+3", ZONES / "Asia/Kolkata"
    if not before.exists() or not after.exists():
        skip("the time zones of tzdata")
    home = Path(tempfile.mkdtemp(prefix="echod-test-"))
    request.addfinalizer(lambda: shutil.rmtree(home))
    home.chmod(0o755)
    give(home)
    zone = home / "localtime"
    shutil.copyfile(before, zone)
    with MountNamespace(f"mount --bind {zone} /etc/localtime") as space:
        daemon = Echod(home, prefix=[*space.prefix, "env", "--unset=TZ"])
        request.addfinalizer(daemon.cleanup)
        daemon.start()
        assert "-0300 echod[" in daemon.log.read_text().splitlines()[0]
        shutil.copyfile(after, zone)
        os.utime(zone, (1, 1))  # another time than the file had
        daemon.run(command, check=0)
        daemon.run("stop", check=0)
        assert "+0530 echod[" in daemon.log.read_text().splitlines()[-1]
