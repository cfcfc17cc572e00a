"""`pid_file` names a file that is no pid file: it is neither overwritten nor removed."""

from __future__ import annotations

import pytest

TEXT = "127.0.0.1 localhost\n::1 localhost ip6-localhost\nfe00::0 ip6-localnet\nff00::0 ip6-mcastprefix\n"


@pytest.mark.parametrize(("name", "content"), [("hosts", TEXT), ("hosts.pid", TEXT), ("hostname", "box\n")])
def test_it_is_left_alone(echod, name, content):
    path = echod.home / name
    path.write_text(content)
    echod.write(pid_file=path)
    for command in ("start", "run"):
        done = echod.run(command, check=1)
        assert done.stderr.count("\n") == 1
        assert f"{path}: is no pid file" in done.stderr
    echod.run("stop", check=0)
    assert path.read_text() == content
    path.unlink()


@pytest.mark.parametrize("content", ["garbage\n", "9" * 5000, "\0" * 4096, "4711"])
def test_a_damaged_one_keeps_nobody_from_starting(echod, content):
    echod.pid_file.write_text(content)
    echod.run("start", check=0)
    assert echod.status()["pid"] == echod.pid
