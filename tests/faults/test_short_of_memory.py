"""Short of memory, the kernel ends a child before the daemon: oom_score_adj (proc(5))."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.wait import wait_for


def score(pid):
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@pytest.mark.parametrize("user", [None, "root"])
def test_a_child_is_the_kernels_first_choice(echod, user):
    if user:
        echod.write(user=user)
    own = score("self")
    echod.start()
    conns = []
    for _ in range(3):
        conns.append(echod.connect())
        conns[-1].sendall(b"x")
        assert conns[-1].recv(1) == b"x"
        wait_for(lambda: score(echod.pid) == own, "the daemon's own score, after the fork")
    assert [score(child.pid) for child in echod.children()] == [min(1000, own + 500)] * 3
    for conn in conns:
        conn.close()
