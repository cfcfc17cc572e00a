"""What is done before the first client leaves nothing behind. What it saves: `system/test_cost.py`."""

from __future__ import annotations

import os

from echod.server.buffer import FIRST, MAPPING, POLLER, SMALL
from echod.server.warm_up import TIMES, serve_ourselves


def test_messages_and_bulk_are_served_and_nothing_is_left():
    served: list[int] = []
    before = os.listdir("/proc/self/fd")

    def serve(fd):
        served.append(len(os.read(fd, 2 * SMALL)))
        MAPPING[0] = 1
        if served[-1] == FIRST + SMALL:
            POLLER.register(fd)

    serve_ourselves(serve)
    assert len(served) == TIMES
    assert set(served) == {len(b"echo"), FIRST + SMALL}
    assert os.listdir("/proc/self/fd") == before
    assert POLLER.poll(0) == []
    assert MAPPING[0] == 0, "its memory was not given back"
