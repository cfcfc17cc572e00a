"""What the tests of `check` share: a plan."""

from __future__ import annotations

import pytest

from echod.cli.check.plan import Plan
from echod.cli.context import Paths


@pytest.fixture
def plan(public):
    """Return a function that makes the plan of a daemon with these settings; no daemon runs."""

    def plan(*options, text="[echod]\n"):
        config = public / "echod.conf"
        config.write_text(text)
        config.chmod(0o644)
        return Plan(Paths(str(config), [f"pid_file={public}/e.pid", *options]))

    return plan
