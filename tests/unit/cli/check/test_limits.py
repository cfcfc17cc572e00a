from __future__ import annotations

import os
import resource

import pytest

from echod.cli import proc
from echod.cli.check import limits
from support.processes import isolated


def test_a_backlog_above_somaxconn(subject, monkeypatch, tmp_path):
    monkeypatch.setattr(proc, "SOMAXCONN", str(tmp_path / "somaxconn"))
    assert list(limits.backlog(subject("backlog=129"))) == []
    (tmp_path / "somaxconn").write_text("128\n")
    assert list(limits.backlog(subject("backlog=128"))) == []
    (found,) = limits.backlog(subject("backlog=129"))
    assert found == "backlog = 129 is cut to somaxconn, 128; `sysctl -w net.core.somaxconn=129`"


def test_limits_are_those_of_the_process(subject):
    def check():
        resource.setrlimit(resource.RLIMIT_NOFILE, (99, 100))
        assert limits.limit(subject(), "Max open files") == 99
        resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert limits.limit(subject(), "Max cpu time") is None
        assert limits.limit(subject(), "Max nonsense") is None

    isolated(check)


def test_the_limit_of_a_running_daemon_is_raised_there(subject):
    found = subject()
    assert limits.raise_limit(found, "u", "nproc", 9) == "ulimit -u 9"
    found.state = {"pid": 4711}
    assert limits.raise_limit(found, "u", "nproc", 9) == "prlimit --pid 4711 --nproc=9:"


def test_root_has_no_limit_on_processes(subject, monkeypatch):
    monkeypatch.setattr(limits, "limit", lambda *_: 1)
    if os.geteuid() == 0:
        assert list(limits.processes(subject("user=root"))) == []
        assert len(list(limits.processes(subject()))) == 1


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Make a cgroup tree of the second version, in which this process is in a/b.service."""
    root = tmp_path / "cgroup"
    (root / "a" / "b.service").mkdir(parents=True)
    monkeypatch.setattr(limits, "pids_cgroup", lambda _subject: (root / "a" / "b.service", root))
    return root


@pytest.mark.parametrize(
    ("where", "mend"),
    [
        ("a/b.service", "`systemctl set-property b.service TasksMax=104`"),
        ("a", "lower max_children to 99"),
    ],
)
def test_a_cgroup_without_room_or_one_above_it(subject, tree, where, mend):
    assert list(limits.cgroup(subject("max_children=100"))) == []
    (tree / where / "pids.current").write_text("3\n")
    (tree / where / "pids.max").write_text("max\n")
    assert list(limits.cgroup(subject("max_children=100"))) == []
    (tree / where / "pids.max").write_text("104\n")
    assert list(limits.cgroup(subject("max_children=100"))) == []
    (tree / where / "pids.max").write_text("103\n")
    (found,) = limits.cgroup(subject("max_children=100"))
    assert f"needs room for 104 processes, with those that exist, and {tree}/{where}/pids.max is 103; " in found
    assert found.endswith(mend.format(root=tree))


def test_the_clients_of_a_running_daemon_are_not_counted_twice(subject, tree):
    (tree / "a" / "pids.current").write_text("60\n")
    (tree / "a" / "pids.max").write_text("110\n")
    found = subject("max_children=100")
    assert len(list(limits.cgroup(found))) == 1
    found.state = {"pid": os.getpid(), "clients": 50}
    assert list(limits.cgroup(found)) == []


def test_the_cgroup_of_this_process_is_below_the_root(subject):
    directory, root = limits.pids_cgroup(subject())
    assert directory is None or directory.is_relative_to(root)


def test_descriptors(subject, monkeypatch):
    monkeypatch.setattr(limits, "limit", lambda *_: 23)
    assert list(limits.descriptors(subject())) == []
    (found,) = limits.descriptors(subject("listen=*:7 *:8"))
    assert found == "the daemon needs 24 descriptors, and the limit is 23 (RLIMIT_NOFILE); `ulimit -n 24`"
