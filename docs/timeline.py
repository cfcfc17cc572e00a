"""Draw one client of examples/textbook.py as strace has seen it: `python docs/timeline.py FILE.svg`."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import time
from html import escape
from pathlib import Path

TEXTBOOK = Path(__file__).parents[1] / "examples/textbook.py"
STRACE = ["strace", "-ff", "-qq", "-ttt", "-e", "signal=SIGCHLD", "-e"]
CALLS = "trace=connect,accept4,clone,fork,close,recvfrom,sendto,shutdown,wait4,exit_group"
LANES = {"client": 20, "parent": 330, "child": 640}  # where each begins, in pixels
ROW, WIDTH = 22, 950
CLIENT = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as conn:
    conn.send(b"hello")
    conn.recv(100)
    conn.shutdown(socket.SHUT_WR)
    conn.recv(100)
"""

Event = tuple[float, str, str]  # when, in seconds; the lane; the call


def serve_one(directory: Path) -> None:
    """Have one client served; strace writes a file for each process into `directory`."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    pid_file = directory / "pid"
    words = [sys.executable, TEXTBOOK, port, pid_file, directory / "log"]
    server = subprocess.Popen([*STRACE, CALLS, "-o", directory / "server", *words])
    while not (pid_file.exists() and pid_file.read_text()):
        time.sleep(0.01)
    client = [*STRACE, CALLS, "-o", directory / "client", sys.executable, "-c", CLIENT, port]
    subprocess.run(client, check=True)
    pid = pid_file.read_text().strip()
    while "wait4(-1" not in (directory / f"server.{pid}").read_text():
        time.sleep(0.01)
    subprocess.run(["kill", pid], check=True)
    server.wait(10)


def events(directory: Path) -> list[Event]:
    """Return the calls of the three processes that concern the client, in the order in which they began."""
    texts = [path.read_text() for path in directory.glob("*.[0-9]*")]
    parent = next(text for text in texts if " accept4(" in text)
    child = next(text for text in texts if 'recvfrom(5, "hello"' in text)
    client = next(text for text in texts if 'recvfrom(3, "hello"' in text)
    parts = {
        "client": re.search(r"\S+ connect\(3, {sa_family=AF_INET,.*?close\(3\)[^\n]*\n", client, re.DOTALL),
        "parent": re.search(r"\S+ accept4\(.*?wait4\([^\n]*\n", parent, re.DOTALL),
        "child": re.search(r".*", child, re.DOTALL),
    }
    return sorted(
        (float(moment), lane, short(call))
        for lane, part in parts.items()
        if part
        for moment, call in re.findall(r"^([\d.]+) (.*)$", part[0], re.MULTILINE)
    )


def short(call: str) -> str:
    """Return a call without what a reader of the picture does not need."""
    call = re.sub(r"{[^}]*}", "{…}", re.sub(r" +", " ", call))
    call = re.sub(r"clone\(.*\) = \d+", "fork() = the child", call)
    call = re.sub(r"= \d{3,}$", "= the child", re.sub(r", 0x[0-9a-f]+, \[16\]", ", …", call))
    return call.replace(" (To be restarted if SA_RESTART is set)", "").replace(", NULL, NULL", "")


def draw(found: list[Event]) -> str:
    """Return the picture: time goes down, a row for each call."""
    height = ROW * (len(found) + 3)
    size = f'width="{WIDTH}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="monospace" font-size="12">',
        f'<rect {size} fill="white"/>',
    ]
    for lane, x in LANES.items():
        lines.append(f'<text x="{x}" y="{ROW}" font-weight="bold">{lane}</text>')
        lines.append(f'<line x1="{x}" y1="{ROW + 8}" x2="{x}" y2="{height - ROW}" stroke="gray"/>')
    for row, (_, lane, call) in enumerate(found, 2):
        x, y = LANES[lane], row * ROW
        lines.append(f'<circle cx="{x}" cy="{y - 4}" r="3"/><text x="{x + 9}" y="{y}">{escape(call)}</text>')
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as name:
        serve_one(Path(name))
        Path(sys.argv[1]).write_text(draw(events(Path(name))))


if __name__ == "__main__":
    main()
