"""The pid files `x` and `x.pid`: each daemon has its own scoreboard, and removes its own files only."""

from __future__ import annotations

import json

import pytest

from support.wait import wait_for


@pytest.fixture
def pair(echod):
    names = ("x", "x.pid")
    yield {name: [f"-opid_file={echod.home / name}"] for name in names}
    for name in names:
        echod.run(f"-opid_file={echod.home / name}", "stop", "--timeout", "5", "--force")


def test_each_has_its_own(echod, pair):
    pids = {}
    for name, words in pair.items():
        echod.run(*words, "start", check=0)
        pids[name] = int((echod.home / name).read_text())
    for name, words in pair.items():
        assert json.loads(echod.run(*words, "status", "--json", check=0).stdout)["pid"] == pids[name]
    echod.run(*pair["x"], "stop", check=0)
    wait_for(lambda: not (echod.home / "x.scoreboard").exists(), "its scoreboard to be gone")
    assert json.loads(echod.run(*pair["x.pid"], "status", "--json", check=0).stdout)["pid"] == pids["x.pid"]
