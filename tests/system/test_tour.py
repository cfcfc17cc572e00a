"""Every console block of the pages, typed as it stands; what it prints is what the text says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.console import Console, blocks, differs
from support.systemd_box import UNITS, EchodBox
from support.wait import DEADLINE, need, need_root

# All as one user with one place for its pid file.
pytestmark = pytest.mark.xdist_group("console")
ROOT = Path(__file__).parents[2]
DOCUMENTS = ["docs/tour.md", "README.md", "docs/monitoring.md", "docs/echoc.md"]


def check(run, document, kind):
    typed = blocks((ROOT / document).read_text(), kind)
    assert typed
    for command, lines in typed:
        printed = differs(run, command, lines)
        assert not printed, f"$ {command}\n{printed}instead of\n" + "\n".join(lines)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_an_ordinary_user_types(document):
    need_root()  # for the namespaces
    for tool in ("strace", "ss", "pstree", "nc.openbsd", "socat", "setpriv"):
        need(tool)
    console = Console(ROOT, os.path.dirname(sys.executable), user="65534")
    try:
        check(console.run, document, "console")
    finally:
        console.close()


@pytest.mark.parametrize("document", DOCUMENTS[:1])
def test_what_root_types_on_a_machine_with_systemd(document, tmp_path):
    box = EchodBox(tmp_path, UNITS / "echod.service")
    try:
        check(lambda command: box.run(command, None), document, "console systemd")
    finally:
        box.close()


def test_the_picture_of_one_client_is_what_strace_sees(tmp_path):
    need("strace")
    subprocess.run([sys.executable, ROOT / "docs/timeline.py", tmp_path / "now.svg"], check=True, timeout=DEADLINE)
    drawn, now = (calls(path.read_text()) for path in (ROOT / "docs/timeline.svg", tmp_path / "now.svg"))
    assert now == drawn


def calls(picture):
    """Return what is in each lane, without the accept that a signal may interrupt: it may have begun or not."""
    found = re.findall(r'<text x="(\d+)"[^>]*>([^<]*)</text>', picture)
    return sorted((lane, call) for lane, call in found if "accept4(4, …" not in call)
