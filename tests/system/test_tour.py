"""Every console block of the tour and of the README, typed as it stands; what it prints is what the text says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from support.console import Console, blocks, differs
from support.systemd_box import UNITS, EchodBox
from support.wait import need, need_root

ROOT = Path(__file__).parents[2]
DOCUMENTS = ["docs/tour.md", "README.md"]


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
