"""A sample of tests/campaign, which fails each system call of the daemon in turn; `make inject` plays all of it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from support.wait import need, need_root

SCRIPT = Path(__file__).parent.parent / "campaign" / "inject.py"
CASES = 150  # less than two minutes


@pytest.mark.lean
@pytest.mark.timeout(600)
def test_the_daemon_survives_a_sample_of_failing_system_calls():
    need_root()
    need("strace")
    seed = os.environ.get("ECHOD_SEED") or str(random.randrange(1 << 32))
    command = [sys.executable, str(SCRIPT), "--sample", str(CASES), "--seed", seed]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"again with ECHOD_SEED={seed}:\n{done.stdout[-8000:]}\n{done.stderr[-4000:]}"
