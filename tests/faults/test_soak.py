"""A short run of `make soak`: in three quarters of a minute, nothing gets lost, miscounted or larger."""

from __future__ import annotations

import pytest

from soak.soak import Soak
from support.processes import many_descriptors
from support.wait import need_root

SECONDS = 45.0


@pytest.mark.lean
@pytest.mark.timeout(300)
def test_soak(public):
    need_root()
    many_descriptors()
    soak = Soak(public, seed=1)
    try:
        soak.run(SECONDS)
    finally:
        soak.echod.cleanup()
    assert soak.totals["exact"] > 100
