"""Console blocks of a document, typed into a shell and compared with what it prints.

In a block ```console a line that begins with `$ ` is typed, those that begin with `> ` after it too; the others are
what was printed. Numbers of four digits and more, times and decimals may differ, and `…` stands for anything, on a line
of its own for any lines. `python console.py FILE` writes into the file what is printed now.
"""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

LONGEST = 30.0  # seconds for a command
AGAIN = 5.0  # seconds in which what only looks may come to see what is told: a child takes its time to end
PROMPT = "\036"
LOOKING = re.compile(r"(ps|pstree|ss|ls|cat|grep|tail|head|sed|awk|echod\b.*\bstatus|systemctl|journalctl)\b")
CHANGES = re.compile(r"pts/\d+|/tmp/tmp\.\w+|\d{4}-\d\d-\d\dT[\d:.]+(?:\+\d+|Z)?|0x[0-9a-f]+|\d+(?:[.:]\d+)*|…|\s+")
ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+$")
NO_SYSLOG = re.compile(r"^echod: warning: log = syslog, but /dev/log does not exist.*\n", re.MULTILINE)
PREPARE = (
    "ip link set lo up; echo {pid} >/proc/sys/kernel/ns_last_pid; setsid --ctty --wait {user} bash --norc --noprofile"
)


def blocks(text, kind="console"):
    """Return the commands of all blocks of a kind, each with the lines it printed."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line.startswith("> ") and not found[-1][1]:
                found[-1] = (f"{found[-1][0]}\n{line[2:]}", [])
            else:
                found[-1][1].append(line)
    return found


def pattern(lines):
    """Return the regular expression of what may be printed where these lines are expected."""
    parts = []
    for line in lines:
        if line.strip() == "…":
            parts.append(r"(?:.*\n)*?")
            continue
        at, text = 0, ""
        for token in CHANGES.finditer(line.strip()):
            text += re.escape(line.strip()[at : token.start()]) + variable(token[0])
            at = token.end()
        parts.append(rf"\s*{text}{re.escape(line.strip()[at:])}[ \t]*\n")
    return "".join(parts)


def variable(token):
    """Return the expression of what a number, a time, `…` or blanks may be."""
    if token == "…":
        return ".*"
    if token.isspace():
        return r"\s+"
    for beginning, expression in (("pts/", r"pts/\d+"), ("/tmp/", r"/tmp/tmp\.\w+"), ("0x", "0x[0-9a-f]+")):
        if token.startswith(beginning):
            return expression
    if ADDRESS.match(token) or (token.isdigit() and len(token) < 4):
        return re.escape(token)
    return r"[\d:.TZ+-]+"


class Console:
    """An interactive shell at a terminal, in namespaces of its own, with `binaries` first in its PATH."""

    def __init__(self, directory, binaries, *, user=""):
        """Start it in `directory`, as root or as an ordinary user."""
        words = f"setpriv --reuid={user} --regid={user} --clear-groups" if user else ""
        isolated = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"]
        self.terminal, slave = pty.openpty()
        termios.tcsetwinsize(slave, (40, 160))
        settings = termios.tcgetattr(slave)
        settings[1] &= ~termios.ONLCR
        settings[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, settings)
        environment = {
            "PATH": f"{binaries}:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "HOME": "/",
        }
        self._shell = subprocess.Popen(
            [*isolated, PREPARE.format(pid=20000, user=words)],
            stdin=slave, stdout=slave, stderr=slave, cwd=directory, env=environment | {"PS1": PROMPT, "PS2": ""},
        )  # fmt: skip
        os.close(slave)
        self._read()

    def run(self, command):
        """Type a command and return what was printed until the next prompt."""
        os.write(self.terminal, command.encode() + b"\n")
        return self._read()

    def _read(self):
        end, text = time.monotonic() + LONGEST, b""
        while not text.endswith(PROMPT.encode()):
            if not select.select([self.terminal], [], [], max(0.0, end - time.monotonic()))[0]:
                raise AssertionError(f"no prompt in {LONGEST} s, but {text.decode(errors='replace')}")
            text += os.read(self.terminal, 1 << 16)
        return text[: -len(PROMPT)].decode(errors="replace").replace("\r", "")

    def close(self):
        """End the shell and all that it started."""
        self._shell.kill()
        self._shell.wait()
        os.close(self.terminal)


def differs(run, command, lines):
    """Run a command and return what it printed, if that is not what was expected, else an empty string."""
    end = time.monotonic() + AGAIN
    while not re.fullmatch(pattern(lines), printed := NO_SYSLOG.sub("", run(command))):
        if not LOOKING.match(command) or time.monotonic() > end:
            return printed or "(nothing)"
        time.sleep(0.05)
    return ""


def rewrite(path, run):
    """Write what the commands of a document print now into it; blocks with `…` are left as they are."""

    def again(block):
        lines = []
        for command, _ in blocks(block[0]):
            lines += ["$ " + command.replace("\n", "\n> "), NO_SYSLOG.sub("", run(command)).rstrip("\n")]
            time.sleep(0.3)
        return "```console\n" + "\n".join(line for line in lines if line) + "\n```"

    path.write_text(re.sub(r"^```console\n(.*?)^```$", again, path.read_text(), flags=re.MULTILINE | re.DOTALL))


if __name__ == "__main__":
    root = Path(__file__).parents[2]
    console = Console(root, root / ".venv/bin", user="65534")
    rewrite(Path(sys.argv[1]), console.run)
    console.close()
