"""The client of an echo server, and the tool that finds what is wrong with one.

    from echod.echoc import Target, ping, stream, verify

    report = verify(Target("localhost"), size=1 << 20, parallel=50)
    for row in report.rows:
        for number, fault in row.faults:
            print(row.pattern.name, number, fault.kind, fault.offset, fault.message)

Sizes are in bytes and times in seconds throughout. Every error raised is an EchoError with the exit status that
echoc(1) has for it in `code`.
"""

from echod.echoc.connect import Target
from echod.echoc.faults import (
    ConnectError,
    EchoError,
    Fault,
    LocalError,
    ServerError,
    SinkClosedError,
    UsageError,
)
from echod.echoc.patterns import PATTERNS, Pattern
from echod.echoc.probe import Report, Row, verify
from echod.echoc.roundtrip import Reply, Summary, ping
from echod.echoc.transfer import Transfer, stream

__all__ = [
    "PATTERNS",
    "ConnectError",
    "EchoError",
    "Fault",
    "LocalError",
    "Pattern",
    "Reply",
    "Report",
    "Row",
    "ServerError",
    "SinkClosedError",
    "Summary",
    "Target",
    "Transfer",
    "UsageError",
    "ping",
    "stream",
    "verify",
]
