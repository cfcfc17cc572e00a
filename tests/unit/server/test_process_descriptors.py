from __future__ import annotations

import os
import resource

from echod.server.process import FDS_WITHOUT_PROC, LATER_FDS, highest_fd
from support.processes import CLONE_NEWNS, isolated, mount, namespaces
from support.wait import need_root


def test_no_open_descriptor_is_above_the_highest_and_it_is_not_much_more():
    def check():
        highest = max(map(int, os.listdir("/proc/self/fd")))
        assert highest <= highest_fd() <= highest + LATER_FDS + 1
        fd = os.open(os.devnull, os.O_RDONLY)
        os.dup2(fd, 300)
        assert 300 <= highest_fd() <= 300 + LATER_FDS + 1

    isolated(check)


def test_descriptors_opened_later_are_below_it():
    highest = highest_fd()
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(LATER_FDS)]
    assert max(opened) <= highest
    for fd in opened:
        os.close(fd)


def test_without_proc_it_is_a_number_that_is_high_enough():
    need_root()

    def check():
        mount(b"tmpfs", "/proc", b"size=4k")
        assert highest_fd() == FDS_WITHOUT_PROC

    namespaces(CLONE_NEWNS, check)


def test_without_a_descriptor_left_it_is_a_number_that_is_high_enough():
    def check():
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        found = highest_fd()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert found == FDS_WITHOUT_PROC

    isolated(check)
