"""What a connection costs in page faults: all tricks for it together keep it near the smallest loop in Python."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "benchmarks"))  # its scripts import each other

import meter
from peers import PEERS
from servers import Server

ROUNDS = 3
# Page faults per connection, of daemon and child, that echod may have more than the smallest loop. How many both have
# depends on the interpreter and on the kernel, the difference hardly: it was 14 to 18 in a burst with Python 3.11, 3.12
# and 3.13, and one at a time 100 to 125. `make cost` prints it.
BUDGET = {meter.in_a_burst: 20, meter.one_at_a_time: 130}


@pytest.mark.lean
@pytest.mark.parametrize("load", BUDGET, ids=lambda load: load.__name__)
def test_page_faults_per_connection(running, load, record_property):
    """The smallest loop runs with the same interpreter, and both are measured in turn."""
    echod = Server(running.pid, running.port)
    with PEERS["smallest"].serving() as smallest:
        taken = [(load(echod), load(smallest)) for _ in range(ROUNDS + 1)][1:]  # the first one warms caches
    own, least = (meter.summary(rounds) for rounds in zip(*taken, strict=True))
    record_property("echod", own.median)
    record_property("smallest", least.median)
    assert own.median.total <= least.median.total + BUDGET[load], (own, least)
