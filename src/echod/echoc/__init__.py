"""The client of an echo server, and a tool that finds the faults of one.

    from echod.echoc import Target, ping, stream, verify

    report = verify(Target("localhost"), size=1 << 20, parallel=50)
    for row in report.rows:
        for number, fault in row.faults:
            print(row.pattern.name, number, fault.kind, fault.offset, fault.message)

Sizes are in bytes and times in seconds. Every error raised is an EchoError. Its `code` is the exit status of echoc(1).
"""

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
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

MODULES = {
    "connect": ("Target",),
    "faults": ("ConnectError", "EchoError", "Fault", "LocalError", "ServerError", "SinkClosedError", "UsageError"),
    "patterns": ("PATTERNS", "Pattern"),
    "roundtrip": ("Reply", "Summary", "ping"),
    "transfer": ("Transfer", "stream"),
    "probe": ("Report", "Row", "verify"),
}

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


def __getattr__(name: str) -> object:
    """Import a name when it is first used: `echoc --check` needs few of them."""
    for module, names in MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
