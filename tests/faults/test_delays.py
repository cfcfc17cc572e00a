"""Calls that races are made of take 1 to 50 ms, under load; `make inject` plays more rounds."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from support.wait import need, need_root

SCRIPT = Path(__file__).parent.parent / "campaign" / "delays.py"


@pytest.mark.lean
@pytest.mark.timeout(300)
def test_slow_system_calls_lose_nothing():
    need_root()
    need("strace")
    seed = os.environ.get("ECHOD_SEED") or str(random.randrange(1 << 32))
    command = [sys.executable, str(SCRIPT), "--seed", seed, "--rounds", "3"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"again with ECHOD_SEED={seed}:\n{done.stdout}\n{done.stderr[-4000:]}"
