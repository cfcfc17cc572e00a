"""echod's commands, as the campaign gives them."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from pathlib import Path

from campaign.client import WrongError
from echod.cli.main import main


def command(echod, *words):
    """Run an echod command in this process, and return what it did: to start another one takes its time."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(["-c", str(echod.config), *words])
        except SystemExit as left:
            code = int(left.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def reload(target):
    """Have the daemon read its config. Raises WrongError when it does not."""
    done = command(target.echod, "reload")
    if done.returncode != 0:
        raise WrongError(f"reload exits with {done.returncode}: {done.stderr}")


def run_traced(target, words, *command_words):
    """Run an echod command whose server is traced with these words of strace; return what it did."""
    script = Path(__file__).with_name("start_traced.py")
    line = [str(Path(target.echod.command()[0]).with_name("python")), str(script), *target.echod.command()[1:]]
    environment = os.environ | {"STRACE": " ".join(map(str, words))}
    return subprocess.run(
        [*line, *command_words], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
