"""Completion in the real shells, each with a terminal: what is typed, tabs too, and the words that it becomes."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from support.wait import DEADLINE, need

ROOT = Path(__file__).parent.parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SHARED = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
# echod and echoc are functions that print their words: nothing is started
POSIX = """\
echod() { printf 'got'; printf '<%s>' "$@"; echo; }
echoc() { echod "$@"; }
PS1='ready> '
"""
BASH = """\
bind 'set bell-style none'
bind 'set enable-bracketed-paste off'
. /usr/share/bash-completion/bash_completion
"""
ZSH = """\
fpath=(SHARE/zsh/site-functions $fpath)
autoload -U compinit
compinit -u -D
unsetopt zle_bracketed_paste prompt_sp prompt_cr
"""
FISH = """\
set -p fish_complete_path SHARE/fish/vendor_completions.d
set -g fish_autosuggestion_enabled 0
function echod; printf got; printf '<%s>' $argv; echo; end
function echoc; echod $argv; end
function fish_greeting; end
function fish_prompt; printf 'ready> '; end
"""
SHELLS = {
    "bash": (["bash", "--noprofile", "--rcfile", "START", "-i"], BASH + POSIX),
    "zsh": (["zsh", "-i"], ZSH + POSIX),
    "fish": (["fish", "--no-config", "--init-command", "source START", "--interactive"], FISH),
}


@pytest.fixture(scope="module")
def share(tmp_path_factory):
    """Return a directory like /usr/share, with what a wheel puts there."""
    prefix = tmp_path_factory.mktemp("prefix")
    for source, target in SHARED.items():
        if source.startswith("completions/"):
            (prefix / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, prefix / target)
    return prefix / "share"


class Shell:
    """An interactive shell on a terminal of its own."""

    def __init__(self, name, share):
        need(name)
        if name == "bash":
            need("/usr/share/bash-completion/bash_completion")
        self.home = share.parent / f"home-{name}"
        self.home.mkdir()
        command, text = SHELLS[name]
        start = self.home / ".zshrc"  # where zsh looks for it; the others are told
        start.write_text(text.replace("SHARE", str(share)))
        environ = {"HOME": str(self.home), "TERM": "dumb", "LANG": "C.UTF-8", "PATH": os.environ["PATH"]}
        environ["XDG_DATA_DIRS"] = f"{share}:/usr/share"
        self._terminal, slave = pty.openpty()
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *(word.replace("START", str(start)) for word in command)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environ,
            cwd=self.home,
        )
        os.close(slave)
        self.wait("ready> ")

    def type(self, text):
        os.write(self._terminal, text.encode())

    def wait(self, pattern):
        """Read until what the shell has written matches, and return all of it."""
        said, end = "", time.monotonic() + DEADLINE
        while not re.search(pattern, said):
            ready, _, _ = select.select([self._terminal], [], [], max(0, end - time.monotonic()))
            assert ready, f"no {pattern!r} in {said!r}"
            said += os.read(self._terminal, 4096).decode(errors="replace")
        return said

    def words(self, line):
        """Type a line and return the words that the command got."""
        self.type(line + "\n")
        said = self.wait(r"got.*\r?\n")
        return re.findall("<(.*?)>", said.rpartition("got")[2])

    def close(self):
        os.close(self._terminal)
        try:
            self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@pytest.fixture(scope="module", params=list(SHELLS))
def shell(request, share):
    shell = Shell(request.param, share)
    yield shell
    shell.close()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("echod stat\t", ["status"]),
        ("echod stop --fo\t", ["stop", "--force"]),
        ("echod --vers\t", ["--version"]),
        ("echod -o max_l\t1h stat\t", ["-o", "max_lifetime=1h", "status"]),
        ("echod -o listen=127.0.0.1:7 stat\t", ["-o", "listen=127.0.0.1:7", "status"]),
        ("echod start -o drain\t1s", ["start", "-o", "drain_timeout=1s"]),
        ("echod start -o log_level=d\t -o log_clients=n\t", ["start", "-o", "log_level=debug", "-o", "log_clients=no"]),
        ("echod -o over_limit=ref\t stat\t", ["-o", "over_limit=refuse", "status"]),
        ("echod start -o user=nob\t", ["start", "-o", "user=nobody"]),
        ("echod start -o pid_file=/etc/host\tname", ["start", "-o", "pid_file=/etc/hostname"]),
        ("echod help reop\t", ["help", "reopen"]),
        ("echoc --pattern late-r\t --verif\t localhost", ["--pattern", "late-reader", "--verify", "localhost"]),
    ],
)
def test_completes(shell, line, words):
    assert shell.words(line) == words


def test_a_file_of_settings(shell):
    name = shell.home / "settings-of-mine.conf"
    name.write_text("")
    assert shell.words("echod -c settings-o\t check") == ["-c", name.name, "check"]


def test_the_files_are_of_these_parsers():
    script = "import sys; sys.path.insert(0, 'completions'); import generate; from pathlib import Path\n"
    script += "print([n for n, t in generate.files().items() if Path('completions', n).read_text() != t])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", f"make completions: {done.stdout}{done.stderr}"
