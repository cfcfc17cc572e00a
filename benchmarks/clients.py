"""Clients, not servers: how fast echoc streams and verifies, beside `socat - TCP:`, against the C server.

    python benchmarks/clients.py [ROUNDS]

Each sends 512 MiB and takes them back, in turn; medians of MB/s over the rounds. Writes CLIENTS.md.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import peers
from generator import HERE, HOST

SIZE = 512 << 20
ECHOC = os.path.join(os.path.dirname(sys.executable), "echoc")


def commands(port: int) -> dict[str, list[str]]:
    """Return the clients, by name; those that stream read the data from stdin."""
    found = {
        "echoc (stream)": [ECHOC, HOST, str(port)],
        "echoc --verify": [ECHOC, "--verify", "--pattern", "1MiB", "--size", str(SIZE), HOST, str(port)],
    }
    if shutil.which("socat"):
        found["socat - TCP:"] = ["socat", "-t", "30", "-", f"TCP:{HOST}:{port}"]
    return found


def measure(command: list[str], data: str) -> float:
    """Run one client and return its MB/s. Raises CalledProcessError."""
    with open(data, "rb") as source:
        begun = time.monotonic()
        subprocess.run(command, stdin=source, stdout=subprocess.DEVNULL, check=True)
        return SIZE / 1e6 / (time.monotonic() - begun)


def main() -> int:
    """Measure all in turn, print and write the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    figures: dict[str, list[float]] = {}
    server = peers.PEERS["textbook"]
    with tempfile.NamedTemporaryFile() as data, server.serving() as serving:
        for _ in range(SIZE >> 20):
            data.write(os.urandom(1 << 20))
        data.flush()
        for _ in range(rounds):
            for name, command in commands(serving.port).items():
                figures.setdefault(name, []).append(measure(command, data.name))
    rows = [f"| {name} | {statistics.median(runs):,.0f} |" for name, runs in figures.items()]
    table = "\n".join(["| client | MB/s |", "| --- | ---: |", *rows])
    print(table)
    with open(os.path.join(HERE, "CLIENTS.md"), "w") as file:
        file.write(f"# Clients: 512 MiB to the C server and back, median of {rounds} rounds\n\n{table}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
