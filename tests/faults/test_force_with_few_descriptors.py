"""`stop --force` where a process may open few files: no child is left."""

from __future__ import annotations

import resource

from support.processes import close_all, connect_many
from support.wait import alive, wait_for


def test_no_child_is_left(echod):
    echod.start(drain_timeout="never", max_children=60)
    conns = connect_many(echod, 60)
    wait_for(lambda: len(echod.children()) == 60, "60 children")
    processes = [echod.process(), *echod.children()]
    for process in processes[1:]:
        process.suspend()

    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))

    echod.run("stop", "--timeout", "0.1", "--force", check=0, preexec_fn=limit)
    wait_for(lambda: not any(alive(process.pid) for process in processes), "all to be gone")
    close_all(conns)
