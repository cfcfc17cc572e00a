"""What the fuzzers feed: a config file's bytes, texts of -o, a scoreboard's bytes; and what must hold for each."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import settings as hypothesis_settings

from echod.cli.context import board_path
from echod.cli.daemon import Daemon
from echod.cli.machine import Handle
from echod.cli.main import fail
from echod.cli.pidfile import PidFile
from echod.cli.status.metrics import metrics
from echod.cli.status.snapshot import snapshot
from echod.cli.status.text import for_people
from echod.common.config import settings
from echod.common.config.settings import SETTINGS
from echod.common.errors import BAD_CONFIG, ConfigError, EchodError

CORPUS = Path(__file__).parent / "corpus"
FEW = 40
MANY = 300

# A test takes `examples`, a decorator. The campaign repeats the few that every run tries, and goes on from there.
few_or_many = pytest.mark.parametrize(
    "examples",
    [
        pytest.param(hypothesis_settings(max_examples=FEW, database=None, derandomize=True), id="few"),
        pytest.param(
            hypothesis_settings(max_examples=MANY, database=None, derandomize=True),
            id="many",
            marks=pytest.mark.campaign,
        ),
    ],
)


def corpus(kind):
    """Return the inputs of one kind, by name."""
    found = {path.name: path.read_bytes() for path in sorted((CORPUS / kind).iterdir())}
    assert found
    return found


def check_load(path, overrides):
    """Load a config: it is taken, and can be written; or a ConfigError of one line names the place."""
    try:
        config = settings.load(path, overrides, "/base")
    except ConfigError as error:
        message = str(error)
    else:
        for name in SETTINGS:
            assert isinstance(config.text(name), str), name
        return config
    places = [path, *(f"-o {text}" for text in overrides), *(f"-o {text!r}" for text in overrides)]
    assert any(message.startswith(place) for place in places), message
    assert "\n" not in message, message
    check_printed(message)
    return None


def check_printed(message):
    """An error is one line on stderr, whatever it quotes."""
    with contextlib.redirect_stderr(io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace")) as stderr:
        assert fail(message, BAD_CONFIG) == BAD_CONFIG
        stderr.flush()
        printed = stderr.buffer.getvalue().decode()
    assert printed.endswith("\n"), printed
    assert len(printed.splitlines()) == 1, printed


def check_file(path, content):
    """Load a config file of these bytes."""
    with open(path, "wb") as file:
        file.write(content)
    config = check_load(path, [])
    if config is not None:  # what it means can be said with -o, and means the same then
        texts = {name: config.text(name) for name in SETTINGS}
        again = check_load("/dev/null", [f"{name}={text}" for name, text in texts.items() if text])
        assert again is not None, texts
        assert {name: again.text(name) for name in SETTINGS} == texts


def check_options(content):
    """Load -o texts, with a NUL between them: none can be in an argument (execve(2))."""
    check_load("/dev/null", [os.fsdecode(text) for text in content.split(b"\0")])


def check_board(home, content, size):
    """Read a scoreboard of `content` and then zeros, up to `size`: it is shown, or refused in one line."""
    pid_file = os.path.join(home, "fuzz.pid")
    with open(board_path(pid_file), "wb") as file:
        file.write(content[:size])
        file.truncate(size)
    try:
        pid = int.from_bytes(content[8:16], sys.byteorder, signed=True)  # or it would be another process's
        state = snapshot(
            Daemon(cast(Handle, SimpleNamespace(pid=pid, wait=lambda _: False)), PidFile(pid_file)).board().copy()
        )
    except (EchodError, ValueError) as error:
        refused = str(error)
    else:
        check_shown(state)
        return state
    check_printed(refused)
    return None


def check_shown(state):
    """What `status` prints is printable, and JSON."""
    text = for_people(state)
    assert all(c.isprintable() or c == "\n" for c in text), text
    assert json.loads(json.dumps(state)) == state
    for openmetrics in (True, False):
        text = metrics(state, "/run/echod.pid", openmetrics=openmetrics)
        assert all(c.isprintable() or c == "\n" for c in text), text
