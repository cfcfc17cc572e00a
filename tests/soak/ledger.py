"""What the clients have counted against what the daemon says: its log, line by line, and its counters."""

from __future__ import annotations

from soak.clients import BROKEN, DENIED, EXACT, PER_SOURCE

COUNTERS = ("accepted", "closed", "bytes_in", "bytes_out")


def close_lines(echod):
    """Return the values of each `close` line in the rotated log files, by peer."""
    found = {}
    for path in rotated(echod):
        for line in path.read_text().splitlines():
            text = line.partition("]: ")[2]
            if text.startswith("close "):
                values = dict(word.split("=", 1) for word in text.split()[1:])
                assert values["peer"] not in found, f"two lines of {values['peer']}"
                found[values["peer"]] = values
    return found


def rotated(echod):
    return sorted(echod.home.glob("echod.[0-9]*"))


def forget(echod):
    """Remove the rotated log files."""
    for path in rotated(echod):
        path.unlink()


def compare(records, lines, killed):
    """Yield where a client and its line in the log do not agree."""
    for one in records:
        line = lines.get(one.peer)
        if one.verdict in (DENIED, PER_SOURCE):
            if line:
                yield f"{one.verdict}, and served: {line}"
            continue
        if line is None:
            yield f"{one.peer} {one.verdict}, sent {one.sent} to {one.to}, got {one.received}: no line"
            continue
        sent, received, reason = int(line["in"]), int(line["out"]), line["reason"]
        if reason == "signal=SIGKILL":
            fine = one.peer in killed and sent <= one.sent  # it may have died between a call and its counter
        elif one.verdict == EXACT:
            fine = (sent, received) == (one.sent, one.received) and reason in ("eof", "idle")
        elif one.verdict == BROKEN:
            fine = False
        else:
            fine = one.sent >= sent >= received >= one.received and reason in ("reset", "eof")
        if not fine:
            yield f"{one.peer} {one.verdict}, sent {one.sent}, got {one.received}: {line}"


def balance(records, lines, before, now):
    """Yield where the counters do not agree with the clients and the log."""
    grown = {name: now[name] - before[name] for name in COUNTERS}
    said = {
        "accepted": len(lines),
        "closed": len(lines),
        "bytes_in": sum(int(line["in"]) for line in lines.values()),
        "bytes_out": sum(int(line["out"]) for line in lines.values()),
    }
    if grown != said:
        yield f"the counters have grown by {grown}, the log says {said}"
    refused = {name: count - before["refused"][name] for name, count in now["refused"].items()}
    counted = {name: sum(one.verdict == name for one in records) for name in refused}
    if refused != counted:
        yield f"refused {refused}, the clients say {counted}"
    if unrelated := lines.keys() - {one.peer for one in records}:
        yield f"lines of clients that nobody was: {sorted(unrelated)[:5]}"
