from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from echod.server.process import CHILDREN_SCORE, HIGHEST_SCORE, OomScore
from support.processes import CLONE_NEWNS, NOBODY, isolated, mount, namespaces
from support.wait import need_root


def score():
    return int(Path("/proc/self/oom_score_adj").read_text())


@pytest.mark.parametrize(("own", "raised"), [(0, CHILDREN_SCORE), (300, 300 + CHILDREN_SCORE), (900, HIGHEST_SCORE)])
def test_those_who_are_forked_while_it_is_raised_go_first(own, raised):
    def check():
        Path("/proc/self/oom_score_adj").write_text(str(max(own, score())))
        oom = OomScore()
        before = score()
        assert before >= own
        os.write(oom.fd, oom.raised)
        isolated(lambda: score() != max(raised, min(HIGHEST_SCORE, before + CHILDREN_SCORE)))
        os.write(oom.fd, oom.own)
        assert score() == before
        isolated(lambda: score() != before)

    isolated(check)


def test_it_works_once_privileges_are_dropped():
    need_root()

    def check():
        oom = OomScore()
        os.setresuid(NOBODY, NOBODY, NOBODY)
        oom.check()
        before = score()
        for _ in range(3):
            os.write(oom.fd, oom.raised)
            assert score() == min(HIGHEST_SCORE, before + CHILDREN_SCORE)
            os.write(oom.fd, oom.own)
            assert score() == before

    isolated(check)


def test_who_may_raise_its_own_inherits_none():
    def check():
        oom = OomScore()
        oom.check()
        assert not oom.is_inherited

    isolated(check)


def test_who_has_dropped_the_rights_of_root_may_not():
    need_root()

    def check():
        oom = OomScore()
        os.setresuid(NOBODY, NOBODY, NOBODY)
        oom.check()
        assert oom.is_inherited

    isolated(check)


def test_where_it_cannot_be_written_it_is_left_alone():
    def check():
        oom, before = OomScore(), score()
        os.dup2(os.open("/proc/self/oom_score_adj", os.O_RDONLY), oom.fd)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(oom.fd, oom.own)
        oom.check()
        os.write(oom.fd, oom.raised)
        assert score() == before
        assert not os.get_inheritable(oom.fd)

    isolated(check)


def test_it_is_not_inherited_through_execve():
    def check():
        oom = OomScore()
        assert not os.get_inheritable(oom.fd)

    isolated(check)


def test_without_proc_nothing_happens():
    need_root()

    def check():
        mount(b"tmpfs", "/proc", b"size=4k")
        oom = OomScore()
        os.write(oom.fd, oom.raised)
        os.write(oom.fd, oom.own)

    namespaces(CLONE_NEWNS, check)


def test_without_a_descriptor_left_it_is_an_error():
    def check():
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        with pytest.raises(OSError, match="Too many open files"):
            OomScore()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    isolated(check)
