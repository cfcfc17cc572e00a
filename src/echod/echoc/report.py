"""What people and programs read: tables, summaries, histograms, JSON."""

from __future__ import annotations

import math

from echod.echoc.faults import LocalError, SinkClosedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from echod.echoc.patterns import Pattern
    from echod.echoc.probe import Report, Row
    from echod.echoc.roundtrip import Reply, Summary


NUMBER_COLUMNS = 30  # before the bars, with a margin


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
        length = math.ceil(max(0, width - NUMBER_COLUMNS) * count / most)
        line = f"{_bound(step, micro):>7} - {_bound(step + 1, micro):<7} {count:>8} {bar * length}"
        yield line[:width].rstrip()


def _step(seconds: float) -> int:
    """Return the number of a time's bucket: three per decade. Bucket 0 begins at 1 µs, and has all faster times."""
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


FAULTS_SHOWN = 5  # per pattern; --json has them all
PERCENTS = (50, 90, 99)
HEADING = f"{'pattern':<12} {'conns':>5} {'bytes':>9} {'seconds':>8} {'rate':>11}  result"
ANNOUNCED_FROM_BYTES = 1 << 30
UNITS = ("", "KiB", "MiB", "GiB", "TiB")


def size_text(size: float) -> str:
    """Return a number of bytes as people read it: 1536 is "1.5KiB"."""
    power = min(int(math.log2(size) // 10), len(UNITS) - 1) if size >= 1 else 0
    return f"{size / 1024**power:.4g}{UNITS[power]}"


def announcement(size: int, parallel: int, patterns: Sequence[Pattern]) -> str:
    """Return a line on what a verification will move, or an empty string if it is little."""
    total = parallel * sum(pattern.size(size) * pattern.tries for pattern in patterns)
    if total <= ANNOUNCED_FROM_BYTES:
        return ""
    each = f"{len(patterns)} pattern{'s' * (len(patterns) > 1)} of {parallel} connection{'s' * (parallel > 1)}"
    return f"will send and read back {size_text(total)} ({each}); use -s or -P to reduce this"


def row_lines(row: Row) -> Iterator[str]:
    """Yield the line of a pattern's row in the table, and a line for each fault below it."""
    wrong = row.faults
    result = f"{len(wrong)} of {len(row.results)} WRONG" if wrong else "ok"
    rate = f"{size_text(row.size / row.seconds)}/s"
    yield (
        f"{row.pattern.name:<12} {len(row.results):>5} {size_text(row.size):>9} "
        f"{row.seconds:>8.3f} {rate:>11}  {result}"
    )
    for number, fault in wrong[:FAULTS_SHOWN]:
        yield f"    connection {number}: {fault.message}"
    if len(wrong) > FAULTS_SHOWN:
        yield f"    and {len(wrong) - FAULTS_SHOWN} more (--json lists all)"


def verdict(report: Report) -> str:
    """Return the last line of a verification: the verdict, and the seed that repeats the run."""
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
            "faults": [{"connection": number, **vars(fault)} for number, fault in row.faults],
        }
        for row in report.rows
    ]
    target = report.target
    about = {"host": target.host, "port": target.port, "seed": report.seed, "size": report.size, "ok": report.ok}
    return json_text({**about, "patterns": rows})


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
    """Return the summary of a ping as one JSON object; times in seconds, null if nothing came back."""
    counts = {"sent": summary.sent, "received": len(summary.times), "lost": summary.lost, "wrong": summary.wrong}
    names = ("min", "avg", "max", "mdev", *(f"p{p}" for p in PERCENTS))
    rtt = None
    if summary.times:
        values = (min(summary.times), summary.mean, max(summary.times), summary.mdev, *summary.percentiles(*PERCENTS))
        rtt = {name: round(value, 9) for name, value in zip(names, values, strict=True)}
    return json_text({**counts, "rtt": rtt})


def _milliseconds(times: Sequence[float]) -> str:
    return "/".join(f"{seconds * 1000:.3f}" for seconds in times)


def json_text(found: dict[str, object]) -> str:
    """Return an object as JSON for programs and people."""
    import json  # noqa: PLC0415  it takes milliseconds, and most reports are lines

    return json.dumps(found, indent=2)


def say(*lines: str) -> None:
    """Print lines at once. LocalError: stdout does not take them."""
    try:
        print(*lines, sep="\n", flush=True)
    except BrokenPipeError:
        raise SinkClosedError("output: broken pipe") from None
    except OSError as error:
        raise LocalError(f"output: {error.strerror}") from None
