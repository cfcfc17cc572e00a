"""The command line of echoc: the destination, the options, and what they mean."""

from __future__ import annotations

import argparse
import re
import socket

from echod import __version__
from echod.echoc.connect import PORT
from echod.echoc.faults import UsageError
from echod.echoc.report import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, NoReturn

    from echod.echoc.patterns import Pattern

FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
MAX_NUMBER = 1e6  # what every timer of the kernel accepts as seconds

DESCRIPTION = """\
echoc sends data to an echo server (RFC 862), and reports what the server does wrong.

  echoc HOST < file        send a file, write what comes back to stdout, and
                           fail unless as many bytes came back as were sent
  echoc HOST               the same on a terminal; Ctrl-D ends the input
  echoc --verify HOST      compare every byte, in every pattern of use
  echoc --ping HOST        measure round trip times, as ping(8) does
  echoc --check HOST       make one round trip, for Nagios, Icinga and the like
"""

EPILOG = """\
patterns of --verify:
{patterns}

exit status:
  0    no fault
  1    the server is wrong: bytes lost or changed, closed early, reset, silent
  2    usage error
  3    no connection: name unknown, refused, unreachable, no answer
  4    input, output or a system call of echoc failed
  130  interrupted (--ping: 0 or 1, after its summary)
  141  no process reads the output any more
  --check returns 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN

examples:
  echoc localhost < /bin/ls | cmp - /bin/ls
  echoc --verify -P 50 --size 64MiB localhost
  echoc --verify --pattern late-reader --seed 4711 localhost 7
  echoc --ping -c 1000 -i 0 --histogram ::1
  echoc --check -w 5 -c 50 --timeout 2 echo.example.net
"""

MODES = ("verify", "ping", "check")
MODES_OF = {
    "size": ("-s", "verify", "ping"),
    "seed": ("--seed", "verify", "ping"),
    "json": ("--json", "verify", "ping", "check"),
    "parallel": ("-P", "verify"),
    "pattern": ("--pattern", "verify"),
    "interval": ("-i", "ping"),
    "histogram": ("--histogram", "ping"),
    "c": ("-c", "ping", "check"),
    "w": ("-w", "check"),
}


def destination(text: str) -> tuple[str, str]:
    """Return the host and the port of HOST, HOST:PORT, V6, [V6] or [V6]:PORT. Without a port, that is empty.

    ValueError: the text is not a destination.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest[1:]) or rest[:1] not in ("", ":"):
            raise ValueError(f"{text!r} is not [V6] or [V6]:PORT")
        return host, rest[1:]
    host, colon, number = text.partition(":")
    if ":" in number:  # an IPv6 address without brackets
        return text, ""
    if not host or (colon and not number):
        raise ValueError(f"{text!r} is not HOST or HOST:PORT")
    return host, number


def port(text: str) -> int:
    """Return the port of a number or of a service's name. ValueError: it is neither."""
    try:
        number = int(text) if text.isascii() and text.isdecimal() else socket.getservbyname(text, "tcp")
    except OSError:
        number = 0
    if not 0 < number < 1 << 16:
        raise ValueError(f"{text!r} is neither a port (1 to 65535) nor a service")
    return number


class Parser(argparse.ArgumentParser):
    """Raises UsageError, and prints help at once."""

    def error(self, message: str) -> NoReturn:
        """Raise the reason."""
        raise UsageError(message)

    def format_help(self) -> str:
        """Return the help, with the patterns, which are imported only here."""
        from echod.echoc.patterns import PATTERNS  # noqa: PLC0415

        lines = (f"  {pattern.name:<13}{pattern.about}" for pattern in PATTERNS)
        self.epilog = EPILOG.format(patterns="\n".join(lines))
        return super().format_help()

    def _print_message(self, message: str, _file: IO[str] | None = None) -> None:  # type: ignore[override]
        """Print help or a version, or raise LocalError. argparse alone drops a failure (from Python 3.12 on)."""
        say(message.removesuffix("\n"))


def size(text: str) -> int:
    """Return the number of bytes in "1000", "64K", "64MiB" or "1G"; all units are binary."""
    match = re.fullmatch(r"(\d+)(?:([kmgt])(?:i?b)?|b)?", text.strip(), re.IGNORECASE)
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size above 0, such as 1000, 16KiB or 64MiB")
    return int(match[1]) * FACTORS[(match[2] or "").lower()]


def positive(text: str) -> int:
    """Return a whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def number(text: str) -> float:
    """Return a number from 0 to MAX_NUMBER."""
    if not re.fullmatch(r"\d+\.?\d*|\.\d+", text) or float(text) > MAX_NUMBER:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1000000")
    return float(text)


def pattern_list(text: str) -> tuple[Pattern, ...]:
    """Return the patterns of a list like "byte,late-reader"."""
    from echod.echoc import patterns  # noqa: PLC0415

    try:
        return patterns.named(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse() -> argparse.Namespace:
    """Return the options. UsageError: they are not valid. SystemExit: --help or --version has been printed."""
    parser = grammar()
    options = parser.parse_args()
    modes = [mode for mode in MODES if getattr(options, mode)]
    if len(modes) > 1:
        parser.error(f"--{modes[0]} and --{modes[1]}: use one of them")
    options.mode = modes[0] if modes else "stream"
    for name, (flag, *where) in MODES_OF.items():
        if getattr(options, name) not in {None, False} and options.mode not in where:
            parser.error(f"{flag}: only with {' or '.join(f'--{mode}' for mode in where)}")
    _find_port(parser, options)
    if options.timeout == 0:
        parser.error("--timeout: must be above 0")
    if options.mode == "ping" and options.c is not None and (options.c < 1 or options.c % 1):
        parser.error("-c: must be a whole number of round trips above 0")
    if options.mode == "check" and None not in {options.w, options.c} and options.w > options.c:
        parser.error("-w: must not exceed -c")
    return options


def _find_port(parser: Parser, options: argparse.Namespace) -> None:
    """Set `host` and `port` from the three ways to write them."""
    try:
        options.host, inside = destination(options.host)
        ports = [text for text in (inside, options.port, options.p) if text]
        options.port = port(ports[0]) if ports else PORT
    except ValueError as error:
        parser.error(str(error))
    if len(ports) > 1:
        parser.error(f"the port is given twice: {' and '.join(ports)}")


def grammar() -> Parser:
    """Return the command line's grammar.

    Every option is in a group: for others, argparse measures the terminal, which imports much.
    """
    parser = Parser(
        prog="echoc",
        usage="echoc [options] HOST[:PORT] [PORT]",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    add = parser.add_argument_group("arguments").add_argument
    add("host", metavar="HOST", help="HOST, HOST:PORT or [V6]:PORT; the addresses of a name are tried in turn")
    add("port", metavar="PORT", nargs="?", help=f"number or service name (default {PORT})")
    add = parser.add_argument_group("options").add_argument
    add("-h", "--help", action="help", help="print this help and exit")
    add("--version", action="version", version=f"echoc {__version__}", help="print the version and exit")
    add = parser.add_argument_group("connection").add_argument
    add("-p", "--port", dest="p", metavar="PORT", help="the port, instead of one after HOST")
    add("-4", dest="family", action="store_const", const=socket.AF_INET, default=socket.AF_UNSPEC, help="IPv4 only")
    add("-6", dest="family", action="store_const", const=socket.AF_INET6, help="IPv6 only")
    add("--source", metavar="ADDR", help="connect from this local address")
    text = "time limit of the connection, and of each silence of a server that owes bytes or its close (default 10)"
    add("--timeout", metavar="S", type=number, default=10.0, help=f"{text}; with --check: of all of it")
    add("--proxy", action="store_true", help="begin each connection with a PROXY protocol v2 header")
    add("--banner", action="store_true", help="expect a line from the server before its echo, and drop it")
    _add_modes(parser)
    return parser


def _add_modes(parser: Parser) -> None:
    add = parser.add_argument_group("verify").add_argument
    add("--verify", action="store_true", help="send random data, and compare every byte that returns")
    text = "bytes per connection, such as 64MiB (default 64MiB); with --ping: bytes per round trip (default 56)"
    add("-s", "--size", metavar="SIZE", type=size, help=text)
    add("-P", "--parallel", metavar="N", type=positive, help="connections at the same time (default 1)")
    add("--pattern", metavar="NAME,...", type=pattern_list, help="only these patterns (default: all, see below)")
    add("--seed", metavar="N", type=int, help="repeat the run that had this seed, byte for byte")
    add("--json", action="store_true", help="report for programs (also with --ping and --check)")
    add = parser.add_argument_group("ping").add_argument
    add("--ping", action="store_true", help="measure round trips until Ctrl-C")
    add("-c", metavar="N", type=number, help="stop after N round trips; with --check: CRITICAL above N ms")
    text = "seconds from one round trip to the next (default 1; 0: no pause)"
    add("-i", "--interval", metavar="S", type=number, help=text)
    add("--histogram", action="store_true", help="draw the distribution of the times")
    add = parser.add_argument_group("check").add_argument
    add("--check", action="store_true", help="make one round trip, and report it as a monitoring plugin")
    add("-w", metavar="MS", type=number, help="WARNING above MS milliseconds (-c MS: CRITICAL)")
