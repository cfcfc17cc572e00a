"""What the tests of `check` share: the daemon that it describes."""

from __future__ import annotations

import pytest

from echod.cli.check.subject import Subject
from echod.cli.context import Paths


@pytest.fixture
def subject(public):
    """Return a function that describes a daemon with these settings; no daemon runs."""

    def subject(*options, text="[echod]\n"):
        config = public / "echod.conf"
        config.write_text(text)
        config.chmod(0o644)
        return Subject(Paths(str(config), [f"pid_file={public}/e.pid", *options]))

    return subject
