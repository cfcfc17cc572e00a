from __future__ import annotations

import shutil
import sys

import pytest

from echod.cli import installation
from echod.cli.daemon import PACKAGE
from support.daemon import SOURCE
from support.processes import NOBODY
from support.wait import need_root


@pytest.fixture
def package(public, monkeypatch):
    """Return a package that every user can read, examined instead of this one."""
    shutil.copytree(SOURCE, public / "above" / "echod", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(installation, "PACKAGE", str(public / "above" / "echod"))
    monkeypatch.setattr(installation, "BOOT", str(public / "above" / "echod" / "server" / "boot.py"))
    monkeypatch.setattr(sys, "executable", "/bin/sh")
    return public / "above" / "echod"


@pytest.mark.usefixtures("package")
def test_one_that_every_user_can_read():
    need_root()
    assert installation.fault(NOBODY, NOBODY) == ""
    assert installation.fault(-1, -1) == ""


@pytest.mark.parametrize("closed", ["server/boot.py", "common/config/rules.py", "server/lean", "session", "log/log.py"])
def test_each_part_of_it_must_be_open(package, closed):
    need_root()
    (package / closed).chmod(0o700)
    why = installation.fault(NOBODY, NOBODY)
    assert why.startswith(str(package / closed))
    assert why.endswith(": Permission denied")
    assert installation.fault(-1, -1) == "", "root reads it"


def test_so_must_the_interpreter_and_the_directories_above(package, public, monkeypatch):
    need_root()
    shutil.copy("/bin/sh", public / "new\npython")
    monkeypatch.setattr(sys, "executable", str(public / "new\npython"))
    assert installation.fault(NOBODY, NOBODY) == ""
    (public / "new\npython").chmod(0o700)
    assert installation.fault(NOBODY, NOBODY) == f"{public}/new\npython: Permission denied"
    monkeypatch.setattr(sys, "executable", "/bin/sh")
    package.parent.chmod(0o700)
    assert installation.fault(NOBODY, NOBODY) == f"{package}: Permission denied"


def test_what_the_server_imports_is_examined():
    found = {str(path.relative_to(PACKAGE)) for path in installation.modules()}
    assert {"__init__.py", "server/boot.py", "server/lean/heap.py", "common/config/file.py"} <= found
    assert not any(name.startswith(("cli/", "echoc/")) for name in found)
