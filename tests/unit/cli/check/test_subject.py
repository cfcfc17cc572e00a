from __future__ import annotations

import os

import pytest

from echod.common.errors import ConfigError
from support.processes import NOBODY


def test_whom_the_daemon_is_and_where_settings_come_from(subject, public):
    found = subject("backlog=5", text="[echod]\n\nmax_children = 7\n")
    assert found.user == ("nobody" if os.geteuid() == 0 else found.user)
    assert found.uid == (NOBODY if os.geteuid() == 0 else os.geteuid())
    assert (found.pid, found.state, found.processes) == (0, {}, 8)
    assert found.origin("backlog") == "-o"
    assert found.origin("max_children") == f"{public}/echod.conf:3"
    assert found.origin("umask") == "default"


def test_a_config_that_is_bad(subject):
    with pytest.raises(ConfigError):
        subject("backlog=many")
