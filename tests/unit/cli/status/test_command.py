from __future__ import annotations

import json
from argparse import Namespace

import pytest

from echod.cli.daemon import Daemon
from echod.cli.pidfile import PidFile
from echod.cli.status import command
from echod.common.errors import NOT_RUNNING, EchodError

OPTIONS = ("json", "prometheus", "openmetrics", "processes", "watch", "all", "interval")


def run(path, **options):
    options = dict.fromkeys(OPTIONS) | options
    return command.status(Namespace(config="/dev/null", options=[f"pid_file={path}"], **options))


@pytest.mark.parametrize(("content", "code"), [(None, 3), ("", 3), ("4711\n", 1)])
def test_what_runs_not(tmp_path, capsys, content, code):
    path = tmp_path / "echod.pid"
    if content is not None:
        path.write_text(content)
    assert run(path) == code
    assert ("crashed or killed" if code == 1 else "not running") in capsys.readouterr().out
    assert run(path, json=True) == code
    assert json.loads(capsys.readouterr().out) == {"state": "dead" if code == 1 else "stopped"}


def test_what_cannot_be_told(tmp_path, capsys):
    path = tmp_path / "echod.pid"
    path.symlink_to("/dev/null")
    assert run(path) == 4
    assert "is a symbolic link" in capsys.readouterr().err


class Leaving:
    """A daemon that ends while it is asked."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def board(self):
        raise EchodError("process 4711 has just ended", NOT_RUNNING)


def test_a_daemon_that_ends_meanwhile_does_not_run(tmp_path, monkeypatch):
    found = iter([Leaving(), None])
    monkeypatch.setattr(Daemon, "find", lambda _pid_file: next(found))
    assert command.copy_of(PidFile(str(tmp_path / "echod.pid"))) is None
