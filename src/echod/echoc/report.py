"""What people and programs read: tables, summaries, JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from echod.echoc.patterns import Pattern
    from echod.echoc.probe import Report, Row
    from echod.echoc.roundtrip import Reply, Summary


NUMBERS = 30  # columns before the bars, and a margin


def histogram_lines(times: Sequence[float], ascii_only: bool = False, width: int = 80) -> Iterator[str]:
    """Yield the distribution of `times` (seconds) as bars, in buckets of 1-2-5 steps and lines of `width` columns."""
    bar, micro = ("#", "us") if ascii_only else ("█", "µs")
    buckets: dict[int, int] = {}
    for seconds in times:
        step = _step(seconds)
        buckets[step] = buckets.get(step, 0) + 1
    most = max(buckets.values(), default=0)
    for step in range(min(buckets, default=0), max(buckets, default=-1) + 1):
        count = buckets.get(step, 0)
        length = math.ceil(max(0, width - NUMBERS) * count / most)
        line = f"{_bound(step, micro):>7} - {_bound(step + 1, micro):<7} {count:>8} {bar * length}"
        yield line[:width].rstrip()


def _step(seconds: float) -> int:
    """Return the number of the bucket: three to a decade, 0 beginning at 1 µs; what is faster is in it too."""
    step = 0
    while seconds >= _lower(step + 1):
        step += 1
    return step


def _lower(step: int) -> float:
    return (1e-6, 2e-6, 5e-6)[step % 3] * 10.0 ** (step // 3)


def _bound(step: int, micro: str) -> str:
    seconds = _lower(step)
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= factor:
            return f"{seconds / factor:g} {unit}"
    return f"{seconds * 1e6:g} {micro}"


SHOWN = 5  # faults listed for each pattern; --json has them all
PERCENTS = (50, 90, 99)
HEADING = f"{'pattern':<12} {'conns':>5} {'bytes':>9} {'seconds':>8} {'rate':>11}  result"
MUCH = 1 << 30  # bytes
UNITS = ("", "KiB", "MiB", "GiB", "TiB")


def size_text(size: float) -> str:
    """Return a number of bytes as people read it: 1536 is "1.5KiB"."""
    power = min(int(math.log2(size) // 10), len(UNITS) - 1) if size >= 1 else 0
    return f"{size / 1024**power:.4g}{UNITS[power]}"


def announcement(size: int, parallel: int, patterns: Sequence[Pattern]) -> str:
    """Return what a verification will move, where that is much; an empty string where it is not."""
    total = parallel * sum(pattern.size(size) * pattern.tries for pattern in patterns)
    if total <= MUCH:
        return ""
    count = f"{len(patterns)} pattern{'s' * (len(patterns) > 1)}"
    return f"will send {size_text(total)} and read them back, in {count} of {parallel} at once; less with -s or -P"


def row_lines(row: Row) -> Iterator[str]:
    """Yield the line of a pattern's row in the table, and a line for each fault below it."""
    wrong = row.faults
    result = f"{len(wrong)} of {len(row.results)} WRONG" if wrong else "ok"
    rate = f"{size_text(row.size / row.seconds)}/s"
    yield (
        f"{row.pattern.name:<12} {len(row.results):>5} {size_text(row.size):>9} "
        f"{row.seconds:>8.3f} {rate:>11}  {result}"
    )
    for number, fault in wrong[:SHOWN]:
        yield f"    connection {number}: {fault.message}"
    if len(wrong) > SHOWN:
        yield f"    and {len(wrong) - SHOWN} more (--json tells all)"


def verdict(report: Report) -> str:
    """Return the last line of a verification: what it comes to, and how to repeat it."""
    wrong = [row.pattern.name for row in report.rows if row.faults]
    text = f"WRONG in {', '.join(wrong)}" if wrong else "ok: every byte returned, every connection closed in order"
    return f"{report.target}: {text} (--seed {report.seed})"


def report_json(report: Report) -> str:
    """Return the whole report as one JSON object; sizes in bytes, times in seconds."""
    rows = [
        {
            "pattern": row.pattern.name,
            "connections": len(row.results),
            "bytes": row.size,
            "seconds": round(row.seconds, 6),
            "faults": [{"connection": number, **asdict(fault)} for number, fault in row.faults],
        }
        for row in report.rows
    ]
    target = report.target
    about = {"host": target.host, "port": target.port, "seed": report.seed, "size": report.size, "ok": report.ok}
    return json.dumps({**about, "patterns": rows}, indent=2)


def reply_line(reply: Reply, size: int, peer: str) -> str:
    """Return the line for one round trip."""
    if reply.seconds is not None:
        return f"{size} bytes from {peer}: seq={reply.seq} time={reply.seconds * 1000:.3f} ms"
    what = "lost" if reply.lost else "wrong"
    return f"{what}: seq={reply.seq}: {reply.fault.message if reply.fault else ''}"


def summary_lines(summary: Summary, peer: str) -> Iterator[str]:
    """Yield the lines at the end of a ping; times in milliseconds."""
    lost = 100 * summary.lost / summary.sent if summary.sent else 0
    yield f"--- {peer} echo statistics ---"
    yield f"{summary.sent} sent, {len(summary.times)} received, {summary.lost} lost ({lost:g}%), {summary.wrong} wrong"
    if summary.times:
        rtt = (min(summary.times), summary.mean, max(summary.times), summary.mdev)
        yield f"rtt min/avg/max/mdev = {_milliseconds(rtt)} ms"
        yield f"rtt {'/'.join(f'p{p}' for p in PERCENTS)} = {_milliseconds(summary.percentiles(*PERCENTS))} ms"


def summary_json(summary: Summary) -> str:
    """Return the summary of a ping as one JSON object; times in seconds, null where nothing came back."""
    counts = {"sent": summary.sent, "received": len(summary.times), "lost": summary.lost, "wrong": summary.wrong}
    names = ("min", "avg", "max", "mdev", *(f"p{p}" for p in PERCENTS))
    rtt = None
    if summary.times:
        values = (min(summary.times), summary.mean, max(summary.times), summary.mdev, *summary.percentiles(*PERCENTS))
        rtt = {name: round(value, 9) for name, value in zip(names, values, strict=True)}
    return json.dumps({**counts, "rtt": rtt}, indent=2)


def _milliseconds(times: Sequence[float]) -> str:
    return "/".join(f"{seconds * 1000:.3f}" for seconds in times)
